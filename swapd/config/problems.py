"""What is wrong with a configuration, and the log that collects it.

Loading never raises for bad input: each step writes its findings into a `ProblemLog` and goes on as far as it
can. The log knows the step it is in, because an error of an early step makes later findings guesswork and
hides them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path

from attrs import define, field, frozen

from swapd.config.nodes import Node, Scalar
from swapd.config.sources import SourceText

KeyPath = tuple[str | int, ...]


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"
    ADVICE = "advice"  # only from `swapd check`, never a reason to fail


@frozen
class Problem:
    """One finding. Lines and columns count from 1 in the file as the user wrote it.

    `key_path` is the dotted form of the place in the configuration. `notes` say where else to look (the
    macro a value came from, the other definition of a name); `excerpt` is the source line with secrets
    masked, empty when there is nothing to show.
    """

    severity: Severity
    code: str
    message: str
    hint: str = ""
    file: Path | None = None
    line: int | None = None
    column: int | None = None
    key_path: str = ""
    end_line: int | None = None
    end_column: int | None = None
    notes: tuple[str, ...] = ()
    excerpt: str = field(default="", repr=False)

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR


_PLAIN_KEY = re.compile(r"[^\s./:\[\]\"'\\\x00-\x1f\x7f]+")


def dotted(path: KeyPath) -> str:
    """A key path as text: dots between keys, list indexes in brackets, awkward keys in quotes."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
            continue
        text = step if _PLAIN_KEY.fullmatch(step) else quoted(step)
        parts.append(f".{text}" if parts else text)
    return "".join(parts)


_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
UNPRINTABLE = re.compile(
    '[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff"\\\\]'
)


def quoted(text: str, limit: int = 80) -> str:
    """Text in double quotes, safe to print on a terminal and cut to `limit` characters."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return '"' + UNPRINTABLE.sub(_escape, shown) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """`a`, `b` or `c`, as prose."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


_OWN_NOTES = ("macro-unknown", "env-unset")  # they tell a macro only if it is to blame
_MACRO_NOTES = 3  # as many as help to find the one
_LONG_VALUE = 6  # values of environment variables at least this long are masked everywhere


@define
class _Entry:
    step: int
    order: int
    problem: Problem


@define
class ProblemLog:
    """Collects problems; the only mutable thing that a load passes around.

    `step` is the step of the load order that is running; `secrets` are the spans of values that must never
    be shown, in the texts as written; `sources` the texts read so far, in order.
    """

    sources: list[SourceText] = field(factory=list)
    step: int = 1
    secrets: list[tuple[SourceText, int, int]] = field(factory=list)
    _entries: list[_Entry] = field(factory=list)
    _seen: set[tuple[object, ...]] = field(factory=set)

    def error(
        self,
        code: str,
        message: str,
        *,
        at: Node | None = None,
        path: KeyPath = (),
        hint: str = "",
        notes: Sequence[str] = (),
        span: tuple[SourceText, int, int] | None = None,
        file: Path | None = None,
        step: int | None = None,
    ) -> None:
        """Record an error at a node, at a span of a source, or about a file as a whole."""
        self._add(Severity.ERROR, code, message, at, path, hint, notes, span, file, step)

    def warning(
        self,
        code: str,
        message: str,
        *,
        at: Node | None = None,
        path: KeyPath = (),
        hint: str = "",
        notes: Sequence[str] = (),
        span: tuple[SourceText, int, int] | None = None,
        file: Path | None = None,
    ) -> None:
        """Record something that is odd but does not stop the daemon."""
        self._add(Severity.WARNING, code, message, at, path, hint, notes, span, file, None)

    def advice(self, code: str, message: str, *, at: Node, path: KeyPath, hint: str = "") -> None:
        """Record a remark that no rule demands."""
        self._add(Severity.ADVICE, code, message, at, path, hint, (), None, None, None)

    def failed(self) -> bool:
        """True when a step up to the current one has found an error."""
        return any(entry.problem.is_error and entry.step <= self.step for entry in self._entries)

    def result(self) -> tuple[Problem, ...]:
        """Warnings, and the errors of the earliest step that has any; sorted by file, line and column."""
        failing = min((entry.step for entry in self._entries if entry.problem.is_error), default=None)
        kept = [entry for entry in self._entries if not entry.problem.is_error or entry.step == failing]
        order = {source.path: index for index, source in enumerate(self.sources)}

        def place(entry: _Entry) -> tuple[int, int, int, int]:
            problem = entry.problem
            return order.get(problem.file, len(order)), problem.line or 0, problem.column or 0, entry.order

        return tuple(entry.problem for entry in sorted(kept, key=place))

    def hides(self, node: Node) -> bool:
        """True when the node is part of a secret."""
        first, last = node.source.written_offset(node.start), node.source.written_offset(node.end)
        return any(
            source is node.source and start <= first and last <= end for source, start, end in self.secrets
        )

    def where(self, node: Node) -> str:
        """A place as `file:line:column`, for use inside a sentence."""
        line, column = node.position()
        return f"{node.source.name}:{line}:{column}"

    def _add(
        self,
        severity: Severity,
        code: str,
        message: str,
        at: Node | None,
        path: KeyPath,
        hint: str,
        notes: Sequence[str],
        span: tuple[SourceText, int, int] | None,
        file: Path | None,
        step: int | None,
    ) -> None:
        if at is not None and span is None:
            span = (at.source, at.start, at.end)
        if not notes and isinstance(at, Scalar) and code not in _OWN_NOTES:
            notes = [
                f"expanded from macro {name}, defined at {self.where(node)}"
                for name, node in at.macros[:_MACRO_NOTES]
            ]
        line = column = end_line = end_column = None
        excerpt = ""
        if span is not None:
            source, start, end = span
            file = source.path
            line, column = source.position(start)
            end_line, end_column = source.position(_trimmed_end(source, start, end))
            excerpt = self._excerpt(source, line)
            message, hint = (
                self._without_environment(source, at, message),
                self._without_environment(source, at, hint),
            )
        key = (code, path, file, line, column, message)
        if key in self._seen:
            return
        self._seen.add(key)
        problem = Problem(
            severity,
            code,
            message,
            hint,
            file,
            line,
            column,
            dotted(path),
            end_line,
            end_column,
            tuple(notes),
            excerpt,
        )
        self._entries.append(_Entry(self.step if step is None else step, len(self._entries), problem))

    def _excerpt(self, source: SourceText, number: int) -> str:
        """The written line with every secret on it masked, character by character."""
        text = source.line(number)
        if not self.secrets:
            return text
        line_start = source.line_starts()[number - 1]
        characters = list(text)
        for secret_source, start, end in self.secrets:
            if secret_source is not source:
                continue
            indent = len(text) - len(text.lstrip(" \t-"))  # the dash of a list item is no secret
            for index in range(max(start - line_start, indent), min(end - line_start, len(characters))):
                characters[index] = "*"
        return "".join(characters)

    def _without_environment(self, source: SourceText, at: Node | None, text: str) -> str:
        """The text with values of environment variables put back to their placeholders.

        Short values are only looked for when the place itself holds a replaced placeholder: a variable
        holding `7` must not turn every `7` of every message into its name.
        """
        if not text:
            return text
        tainted = isinstance(at, Scalar) and at.from_environment
        for known in self.sources:
            for name, value in (variable for edit in known.edits for variable in edit.variables):
                if value and (tainted or len(value) >= _LONG_VALUE):
                    pattern = rf"(?<!\w){re.escape(value)}(?!\w)"
                    text = re.sub(pattern, _placeholder(name), text)
        return text


def _placeholder(name: str) -> Callable[[re.Match[str]], str]:
    return lambda _: f"${{env.{name}}}"


def _trimmed_end(source: SourceText, start: int, end: int) -> int:
    """The end of a span without the white space a block scalar or block mapping trails."""
    text = source.text
    while end > start and text[end - 1 : end].isspace():
        end -= 1
    return end
