"""Writing plain values as YAML that reads back as the same values.

Only what `swapd check --show` needs: mappings, lists and scalars, comments behind keys, block style.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from swapd.config.problems import UNPRINTABLE
from swapd.config.scalars import float_text, resolve

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./=-]+)*")
_AMBIGUOUS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_BLOCK_TEXT = re.compile(r"[\n\x20-\x7e\xa0-\u2027\u202f-\ud7ff\ue000-\ufefe\uff00-\ufffd]*")
_INDENT = "  "


class Commented:
    """A value with a comment to print behind or above it."""

    __slots__ = ("comment", "value")

    def __init__(self, value: object, comment: str) -> None:
        self.value = value
        self.comment = comment


def to_yaml(value: object) -> str:
    """The value as a YAML document, ended by a line feed."""
    return "".join(line + "\n" for line in _lines(value, ""))


def scalar_text(value: object) -> str:
    """A single value in one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    return _string(str(value))


def _float(value: float) -> str:
    special = {"+Inf": ".inf", "-Inf": "-.inf", "NaN": ".nan"}
    text = float_text(value)
    if text in special:
        return special[text]
    return text if isinstance(resolve(text), float) else f"{text}.0"


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _AMBIGUOUS and resolve(text) == text:
        return text
    escaped = UNPRINTABLE.sub(_escape, text)
    return f'"{escaped}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    return named or f"\\u{ord(character):04x}"


def _lines(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from _entry(f"{indent}{_string(str(name))}:", entry, indent)
    elif isinstance(value, (list, tuple)) and value:
        for item in value:
            yield from _item(item, indent)
    else:
        yield indent + _inline(value)


def _entry(head: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Commented):
        yield f"{indent}# {value.comment}"
        value = value.value
    if isinstance(value, str) and _fits_block(value):
        yield f"{head} {_block_header(value)}"
        yield from (
            f"{indent}{_INDENT}{line}" if line else "" for line in value.removesuffix("\n").split("\n")
        )
    elif _is_nested(value):
        yield head
        yield from _lines(value, indent + _INDENT)
    else:
        yield f"{head} {_inline(value)}"


def _item(value: object, indent: str) -> Iterator[str]:
    if not _is_nested(value):
        yield f"{indent}- {_inline(value)}"
        return
    lines = list(_lines(value, indent + _INDENT))
    yield f"{indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _is_nested(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, (list, tuple)) and bool(value) and any(map(_is_collection, value))


def _is_collection(value: object) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(scalar_text(item) for item in value)}]"
    return scalar_text(value)


def _fits_block(text: str) -> bool:
    """True for text of several lines that reads better, and as the same, in a literal block."""
    body = text[:-1] if text.endswith("\n") else text
    if "\n" not in body or body.endswith("\n") or body[0] in " \n\t":
        return False
    return _BLOCK_TEXT.fullmatch(body) is not None


def _block_header(text: str) -> str:
    return "|" if text.endswith("\n") else "|-"
