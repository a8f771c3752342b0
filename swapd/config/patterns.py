"""Regular expressions in the RE2 dialect, run by Python's `re`.

RE2 has no look-around, back-references, atomic groups, possessive quantifiers or conditionals; patterns that
use them are refused. What both dialects spell differently is translated: `$` outside multi-line mode means
the very end, `\\z` is `\\Z`, and `\\d \\w \\s \\b` are ASCII.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from attrs import field, frozen

from swapd.config.kinds import INVALID, TYPE_STEP, Kind, Text
from swapd.config.nodes import Node
from swapd.config.problems import KeyPath, ProblemLog, quoted

_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": r"0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_POSIX = re.compile(r"\[:(\^?)(\w+):\]")
_GROUP = re.compile(r"\(\?(?P<flags>[a-zA-Z]*)(?:-(?P<off>[a-zA-Z]+))?(?P<end>[:)])")
_LOOKAROUND = {"(?=": "look-ahead", "(?!": "look-ahead", "(?<=": "look-behind", "(?<!": "look-behind"}
_REFUSED = {**_LOOKAROUND, "(?>": "an atomic group", "(?(": "a conditional", "(?P=": "a back-reference"}
MAX_PATTERN = 4096
_RE2 = "RE2 syntax: no look-around, no back-references; named groups as (?P<name>…)"
_TAKEN_LITERALLY = "characters such as ( [ * + ? need a \\ before them to be taken as they are"


class UnsupportedPatternError(ValueError):
    """The pattern is not valid, or uses something RE2 does not have."""


@frozen
class Regex:
    """A checked pattern: `text` as written, `compiled` ready to search."""

    text: str
    compiled: re.Pattern[str] = field(eq=False, repr=False)

    def search(self, text: str) -> bool:
        return self.compiled.search(text) is not None


def compile_regex(pattern: str) -> Regex:
    """Raises UnsupportedPatternError with the reason."""
    if len(pattern) > MAX_PATTERN:
        raise UnsupportedPatternError(f"longer than {MAX_PATTERN} characters")
    translated = _Translator(pattern).run()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Regex(pattern, re.compile(translated, re.ASCII))
    except (re.error, OverflowError, RecursionError) as error:
        raise UnsupportedPatternError(str(error) or "too deeply nested") from None


class _Translator:
    """One pass over a pattern; `multiline` is a stack with one entry per open group."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        self.multiline = [False]

    def run(self) -> str:
        while self.at < len(self.pattern):
            character = self.pattern[self.at]
            if character == "\\":
                self._escape()
            elif character == "[":
                self._class()
            elif character == "(":
                self._group()
            elif character == ")":
                if len(self.multiline) > 1:
                    self.multiline.pop()
                self._copy(1)
            elif character == "$":
                self._put("$" if self.multiline[-1] else r"\Z", 1)
            elif character in "*+?}":
                self._quantifier()
            else:
                self._copy(1)
        return "".join(self.out)

    def _copy(self, length: int) -> None:
        self._put(self.pattern[self.at : self.at + length], length)

    def _put(self, text: str, length: int) -> None:
        self.out.append(text)
        self.at += length

    def _escape(self) -> None:
        following = self.pattern[self.at + 1 : self.at + 2]
        if following in "123456789" and following:
            raise UnsupportedPatternError(f"back-reference \\{following} is not supported")
        if following == "z":
            self._put(r"\Z", 2)
        elif following == "Z":
            raise UnsupportedPatternError(r"\Z is not supported, use \z")
        else:
            self._copy(2)

    def _class(self) -> None:
        end = self._class_end()
        body = self.pattern[self.at : end]
        self._put(_POSIX.sub(self._posix, body), end - self.at)

    def _class_end(self) -> int:
        at = self.at + 1
        if self.pattern[at : at + 1] == "^":
            at += 1
        if self.pattern[at : at + 1] == "]":
            at += 1
        while at < len(self.pattern) and self.pattern[at] != "]":
            posix = _POSIX.match(self.pattern, at)
            at = posix.end() if posix else at + (2 if self.pattern[at] == "\\" else 1)
        return min(at + 1, len(self.pattern))

    @staticmethod
    def _posix(match: re.Match[str]) -> str:
        members = _POSIX_CLASSES.get(match[2])
        if members is None or match[1]:
            raise UnsupportedPatternError(f"{match[0]} is not supported")
        return members

    def _group(self) -> None:
        for opening, name in _REFUSED.items():
            if self.pattern.startswith(opening, self.at):
                raise UnsupportedPatternError(f"{opening} ({name}) is not supported")
        flags = _GROUP.match(self.pattern, self.at)
        multiline = self.multiline[-1]
        if flags:
            if "U" in flags["flags"]:
                raise UnsupportedPatternError("the flag U is not supported")
            multiline = (multiline or "m" in flags["flags"]) and "m" not in (flags["off"] or "")
            if flags["end"] == ")":
                self.multiline[-1] = multiline
                self._copy(len(flags[0]))
                return
        self.multiline.append(multiline)
        self._copy(1)
        if self.pattern.startswith("?", self.at):
            self._copy(1)

    def _quantifier(self) -> None:
        if self.pattern[self.at + 1 : self.at + 2] == "+":
            raise UnsupportedPatternError(
                f"{self.pattern[self.at]}+ (a possessive quantifier) is not supported"
            )
        lazy = self.pattern[self.at + 1 : self.at + 2] == "?"
        self._copy(2 if lazy else 1)


@frozen
class Pattern(Kind):
    """A regular expression."""

    code: str = "ignore-regex"
    words: str = "a regular expression"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> Any:
        text = Text().load(node, path, log)
        if text is INVALID:
            return INVALID
        try:
            return compile_regex(text)
        except UnsupportedPatternError as error:
            log.error(
                self.code,
                f"{quoted(text)} is not a usable pattern: {error}",
                at=node,
                path=path,
                hint=_RE2 if "not supported" in str(error) else _TAKEN_LITERALLY,
                step=TYPE_STEP,
            )
            return INVALID
