"""Durations, seconds and sizes as text."""

from __future__ import annotations

import re
from decimal import Decimal

_DURATION = re.compile(r"([-+]?)((?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d))+)", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_SIZE = re.compile(r"([-+]?)(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]+)", re.ASCII)
_SIZE_UNITS = {
    "B": 1,
    **{f"{prefix}iB": 1024 ** (n + 1) for n, prefix in enumerate("KMGT")},
    **{f"{prefix}B": 1000 ** (n + 1) for n, prefix in enumerate("KMGT")},
}
MAX_SECONDS = 1e9  # some 30 years; anything above is a mistake in the unit
MAX_SIZE = 1 << 62
_MAX_TEXT = 64


def parse_duration(text: str, *, days: bool = False) -> float | None:
    """Seconds of a text such as `1h30m`, or None when it is not one. `0` needs no unit."""
    if text in ("0", "+0", "-0"):
        return 0.0
    match = _DURATION.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None or ("d" in text and not days):
        return None
    seconds = sum((Decimal(number) * _UNITS[unit] for number, unit in _PART.findall(match[2])), Decimal(0))
    return float(-seconds if match[1] == "-" else seconds)


def parse_size(text: str) -> int | None:
    """Bytes of a text such as `4MiB`, or None when it is not one."""
    match = _SIZE.fullmatch(text.strip()) if len(text) <= _MAX_TEXT else None
    if match is None or match[3] not in _SIZE_UNITS:
        return None
    size = int(Decimal(match[2]) * _SIZE_UNITS[match[3]])
    return -size if match[1] == "-" else size


def duration_text(seconds: float) -> str:
    """Seconds in the shortest usual spelling: `90s`, `2h`, `90d`, `0.25s`."""
    if seconds and seconds == int(seconds):
        for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
            if seconds % size == 0:
                return f"{int(seconds) // size}{unit}"
    return f"{seconds:g}s"


def size_text(size: int) -> str:
    """Bytes in the largest binary unit that divides them."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return f"{size}B"
