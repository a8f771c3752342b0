"""Types of plain YAML scalars, and the text a typed value turns into.

The dialect is neither YAML 1.1 nor 1.2: `yes` and `1:30` are strings, `0100` is 64, `08` is 8.0. The first
character decides cheaply that most scalars are strings.
"""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import date
from math import isinf, isnan

from swapd.config.nodes import Timestamp, Value

_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys(
        (f"{sign}{word}" for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), float("inf")
    ),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_NUMBER_START = frozenset("0123456789+-.")
_INTEGER = re.compile(
    r"([-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|0[oO]?(?P<oct>[0-7]+)|(?P<dec>0|[1-9][0-9]*))"
)
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d{1,9})?(Z|[-+]\d{2}:\d{2}))"
    r"|(?: (\d{1,2}):(\d{1,2}):(\d{1,2})(\.\d{1,9})?))?"
)
_MAX_UNSIGNED = 2**64 - 1
_MIN_SIGNED = -(2**63)
_MAX_DIGITS = 400  # longer literals cannot be a number that fits; Python also refuses very long ones

_TAG = "tag:yaml.org,2002:"


def resolve(text: str) -> Value:
    """The value of an unquoted scalar without a tag."""
    first = text[:1]
    if first not in _NUMBER_START:
        return _WORDS.get(text, text)
    if text in _WORDS:
        return _WORDS[text]
    if first.isdigit() and "-" in text:
        timestamp = _timestamp(text)
        if timestamp is not None:
            return timestamp
    return _number(text)


def _number(text: str) -> Value:
    if len(text) > _MAX_DIGITS:
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    match = _INTEGER.fullmatch(digits)
    if match:
        base = match.lastgroup
        assert base is not None
        number = int(match[base], _BASES[base])
        if match[1] == "-":
            number = -number
        if _MIN_SIGNED <= number <= _MAX_UNSIGNED:
            return number
    if _FLOAT.fullmatch(digits):
        value = float(digits)
        if not isinf(value):
            return value
    return text


def _timestamp(text: str) -> Timestamp | None:
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(match[a] or match[b] or 0) for a, b in ((4, 9), (5, 10), (6, 11)))
    try:
        date(max(year, 1), month, day)
    except ValueError:
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    fraction = (match[7] or match[12] or "").rstrip("0").rstrip(".")
    zone = match[8] or "Z"
    if zone in ("+00:00", "-00:00"):
        zone = "Z"
    return Timestamp(f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")


def resolve_tagged(text: str, tag: str) -> Value:
    """The value of a scalar with a tag; unknown tags are ignored.

    Raises ValueError when the text does not fit one of the standard tags.
    """
    if not tag.startswith(_TAG):
        return resolve(text) if tag != "!" else text
    kind = tag[len(_TAG) :]
    if kind == "str":
        return text
    if kind == "binary":
        return b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
    value = resolve(text)
    fits: dict[str, type | tuple[type, ...]] = {
        "int": int,
        "float": (int, float),
        "bool": bool,
        "null": type(None),
        "timestamp": Timestamp,
    }
    if kind not in fits:
        return value
    if not isinstance(value, fits[kind]) or (kind in ("int", "float") and isinstance(value, bool)):
        raise ValueError(f"not a value for the tag !!{kind}")
    return float(value) if kind == "float" and isinstance(value, (int, float)) else value


def float_text(value: float) -> str:
    """Shortest digits that round-trip, plain for exponents -4 … 5, else `d.ddde±XX`."""
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if str(value).startswith("-") else "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    exponent = len(whole) - 1 - leading + int(exponent_text or 0)
    digits = digits.rstrip("0") or "0"
    if not -4 <= exponent <= 5:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    rest = digits[exponent + 1 :]
    return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"


def text_of(value: Value) -> str:
    """A scalar as text, as it goes into a string field or a string around a macro."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return float_text(value)
