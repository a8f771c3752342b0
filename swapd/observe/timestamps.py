"""The time formats of log lines, by the names that `logTimeFormat` knows.

Times are local, names of days and months English. Fractions are cut, never rounded: a line must not claim
a moment that had not come yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

Timestamp = Callable[[int], str]
"""Nanoseconds since the epoch → the text in front of a log line, without the blank that follows."""

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _clock(t: time.struct_time) -> str:
    return f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"


def _offset(t: time.struct_time, colon: str = "") -> str:
    """`+0200`, or `+02:00` with a colon."""
    minutes = abs(t.tm_gmtoff) // 60
    return f"{'-' if t.tm_gmtoff < 0 else '+'}{minutes // 60:02}{colon}{minutes % 60:02}"


def _iso_offset(t: time.struct_time) -> str:
    return "Z" if t.tm_gmtoff == 0 else _offset(t, ":")


def _day(t: time.struct_time) -> str:
    return _DAYS[t.tm_wday][:3]


def _month(t: time.struct_time) -> str:
    return _MONTHS[t.tm_mon - 1]


def _iso(t: time.struct_time) -> str:
    return f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{_clock(t)}"


def _rfc822(t: time.struct_time) -> str:
    return f"{t.tm_mday:02} {_month(t)} {t.tm_year % 100:02} {t.tm_hour:02}:{t.tm_min:02}"


def _rfc1123(t: time.struct_time) -> str:
    return f"{_day(t)}, {t.tm_mday:02} {_month(t)} {t.tm_year:04} {_clock(t)}"


def _stamp(t: time.struct_time) -> str:
    return f"{_month(t)} {t.tm_mday:2} {_clock(t)}"


def _kitchen(t: time.struct_time) -> str:
    return f"{(t.tm_hour + 11) % 12 + 1}:{t.tm_min:02}{'AM' if t.tm_hour < 12 else 'PM'}"


_TO_THE_SECOND: Final[dict[str, Callable[[time.struct_time], str]]] = {
    "ansic": lambda t: f"{_day(t)} {_month(t)} {t.tm_mday:2} {_clock(t)} {t.tm_year:04}",
    "unixdate": lambda t: f"{_day(t)} {_month(t)} {t.tm_mday:2} {_clock(t)} {t.tm_zone} {t.tm_year:04}",
    "rubydate": lambda t: f"{_day(t)} {_month(t)} {t.tm_mday:02} {_clock(t)} {_offset(t)} {t.tm_year:04}",
    "rfc822": lambda t: f"{_rfc822(t)} {t.tm_zone}",
    "rfc822z": lambda t: f"{_rfc822(t)} {_offset(t)}",
    "rfc850": lambda t: (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02}-{_month(t)}-{t.tm_year % 100:02} {_clock(t)} {t.tm_zone}"
    ),
    "rfc1123": lambda t: f"{_rfc1123(t)} {t.tm_zone}",
    "rfc1123z": lambda t: f"{_rfc1123(t)} {_offset(t)}",
    "rfc3339": lambda t: _iso(t) + _iso_offset(t),
    "kitchen": _kitchen,
    "stamp": _stamp,
}


def utc_timestamp(ns: int) -> str:
    """RFC 3339 in UTC with milliseconds, for the API: `2026-08-01T12:00:00.250Z`."""
    t = time.gmtime(ns // 1_000_000_000)
    return f"{_iso(t)}.{ns // 1_000_000 % 1000:03}Z"


def utc_second(second: int) -> str:
    """RFC 3339 in UTC, whole seconds: `2026-08-01T12:00:00Z`."""
    return f"{_iso(time.gmtime(second))}Z"


_STAMP_DIGITS: Final = {"stampmilli": 3, "stampmicro": 6, "stampnano": 9}

FORMAT_NAMES: Final = frozenset({*_TO_THE_SECOND, *_STAMP_DIGITS, "rfc3339nano"})


def timestamp_format(name: str) -> Timestamp | None:
    """The format of that name, ignoring case and surrounding blanks; None for "" (lines without a time).

    An unknown name is a `ValueError`. Each call gives a formatter of its own; it remembers the second it
    wrote last, so that a busy log converts the time once a second and not once a line.
    """
    name = name.strip().lower()
    if not name:
        return None
    if name == "rfc3339nano":
        head, tail = _once_a_second(_iso), _once_a_second(_iso_offset)
        return lambda ns: head(ns // 1_000_000_000) + _trimmed_fraction(ns) + tail(ns // 1_000_000_000)
    if name in _STAMP_DIGITS:
        digits, stamp = _STAMP_DIGITS[name], _once_a_second(_stamp)
        return lambda ns: f"{stamp(ns // 1_000_000_000)}.{_fraction(ns)[:digits]}"
    if name not in _TO_THE_SECOND:
        raise ValueError(f"unknown time format {name!r}; known are {', '.join(sorted(FORMAT_NAMES))}")
    text = _once_a_second(_TO_THE_SECOND[name])
    return lambda ns: text(ns // 1_000_000_000)


def _fraction(ns: int) -> str:
    return f"{ns % 1_000_000_000:09}"


def _trimmed_fraction(ns: int) -> str:
    digits = _fraction(ns).rstrip("0")
    return "." + digits if digits else ""


def _once_a_second(render: Callable[[time.struct_time], str]) -> Callable[[int], str]:
    """`render` for seconds since the epoch, computed anew only when the second has changed."""
    last_second, last_text = -1, ""

    def rendered(second: int) -> str:
        nonlocal last_second, last_text
        if second != last_second:
            last_second, last_text = second, render(time.localtime(second))
        return last_text

    return rendered
