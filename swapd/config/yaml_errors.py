"""Syntax errors of the YAML library in words that say what to do."""

from __future__ import annotations

import re

from msgspec import Struct
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from swapd.config.sources import SourceText

_INDENTATION = "the indentation does not fit the lines above"
_QUOTE_MACRO = 'inside [ ] and { } a macro must be quoted: "${name}"'
_ALIGN = "keys of one mapping start in the same column"
_NO_COLON = 'this line has no ":"'
_ADD_COLON = "a key is followed by a colon and a blank"
_QUOTE_VALUE = "put a value that starts with it into quotes"
_NO_TABS = "YAML allows no tabs for indentation; use blanks"
_CLOSE = "close it, or put text that starts with it into quotes"

# Part of the library's text, what is wrong, what to do about it.
_EXPLANATIONS = (
    (
        "while scanning a quoted scalar",
        "this quote is never closed",
        "put the closing quote behind the text it belongs to",
    ),
    ("that cannot start any token", "{character} cannot stand here", _QUOTE_VALUE),
    ("a tab character that violates", "a tab cannot stand here", _NO_TABS),
    ("could not find expected ':'", _NO_COLON, _ADD_COLON),
    ("while parsing a flow sequence", 'a comma or "]" is missing', _CLOSE),
    ("while parsing a flow mapping", 'a comma or "}}" is missing', _CLOSE),
    ("expected <block end>", _INDENTATION, _ALIGN),
    (
        "sequence entries are not allowed",
        'a "-" is not allowed here',
        "list items start on a line of their own",
    ),
    (
        "block sequence entries are not",
        'a "-" is not allowed here',
        "list items start on a line of their own",
    ),
    ("bad indentation", _INDENTATION, _ALIGN),
    (
        "expected '<document start>'",
        "there is something behind the end of the document",
        "keys start at the left margin, all in the same column",
    ),
    (
        "found unknown escape character",
        "this escape does not exist",
        "in single quotes a backslash is literal",
    ),
    (
        "while scanning a block scalar",
        "this block of text does not start well",
        "put the text on the next line",
    ),
    ("found undefined tag handle", "this tag has no meaning", "put text that starts with ! in quotes"),
    (
        "while scanning an alias",
        "after * the name of an anchor is expected",
        "put text that starts with * in quotes",
    ),
    ("while scanning an anchor", "after & a name is expected", "put text that starts with & in quotes"),
)


class SyntaxTrouble(Struct, frozen=True):
    """A syntax error: the offset it is shown at, what it is, what to do."""

    offset: int
    message: str
    hint: str = ""


def explain_syntax(source: SourceText, error: YAMLError) -> SyntaxTrouble:
    """What an error of the library means."""
    if not isinstance(error, MarkedYAMLError):
        return _unreadable_character(error)
    text = f"{error.context or ''} {error.problem or ''}"
    offset = _offset(source, error)
    if "mapping values are not allowed" in text:
        return _unexpected_colon(source, offset)
    for part, message, hint in _EXPLANATIONS:
        if part in text:
            character = _shown(source.text[offset : offset + 1])
            hint = _hint(source, offset, part) or hint
            return SyntaxTrouble(offset, message.format(character=character), hint)
    message = "; ".join(part for part in (error.context, error.problem) if part)
    hint = _hint(source, offset, "") or "look at the quotes, brackets and indentation here and above"
    return SyntaxTrouble(offset, message or "this is not YAML", hint)


def error_offset(error: YAMLError) -> int:
    """Where the library gave up."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return 0 if mark is None else int(mark.index)
    return int(getattr(error, "position", 0) or 0)


def _offset(source: SourceText, error: MarkedYAMLError) -> int:
    """The place to show: where something was opened, if it was missed only at the end of the text."""
    offset = error_offset(error)
    if error.context_mark is not None and not source.text[offset:].strip():
        return int(error.context_mark.index)
    return offset


def _unexpected_colon(source: SourceText, offset: int) -> SyntaxTrouble:
    """A colon where the library expected none: it is wrong itself, or makes it plain that this or the line
    above is."""
    text = source.text
    start = text.rfind("\n", 0, offset) + 1
    before = text[start:offset]
    first = start + len(before) - len(before.lstrip())
    above = _line_above(text, start)
    hint = _hint(source, offset, "")
    if hint or ": " in before or above is None:
        return SyntaxTrouble(
            offset, 'a ":" with a blank behind it is not allowed here', hint or "put the text in quotes"
        )
    above_first, above_text = above
    if ":" not in above_text and not above_text.startswith("- "):
        return SyntaxTrouble(above_first, _NO_COLON, _ADD_COLON)
    return SyntaxTrouble(first, _INDENTATION, _ALIGN)


def _line_above(text: str, start: int) -> tuple[int, str] | None:
    """The nearest line above an offset that holds more than a comment: where its content begins, and it."""
    while start > 0:
        end = start - 1
        start = text.rfind("\n", 0, end) + 1
        content = text[start:end].strip()
        if content and not content.startswith("#"):
            return start + text[start:end].index(content), content
    return None


def _unreadable_character(error: YAMLError) -> SyntaxTrouble:
    character = getattr(error, "character", None)
    shown = f" U+{character:04X}" if isinstance(character, int) else ""
    return SyntaxTrouble(
        error_offset(error),
        f"the character{shown} is not allowed in YAML",
        'in double quotes write it as "\\uXXXX"',
    )


def _shown(character: str) -> str:
    return {"\t": "a tab", "": "the end"}.get(character, f'"{character}"')


def _hint(source: SourceText, offset: int, part: str) -> str:
    """What the line itself suggests."""
    number, column = source.position(offset)
    line = source.line(number)
    before = line[: column - 1]
    if re.match(r"\s*\t", line) or "\t" in before:
        return _NO_TABS
    if re.search(r"\$\s*$", before) or re.search(r"[\[,{:]\s*\$\{", line):
        return _QUOTE_MACRO
    return ""
