"""Reads what a GGUF file says about itself: its header, and nothing behind it.

The format: a magic, a version, the numbers of tensors and of key-values, then the key-values, each a
name, a type and a value (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Files may be in either
byte order. A file is whatever somebody has downloaded, so nothing in it is believed: every length has a
bound, and what is too long, cut off or contradicts itself is a `GGUFError`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

from attrs import frozen

MAX_HEADER_BYTES: Final = 256 * 1024 * 1024
"""Beyond any real header; a vocabulary of 300,000 tokens takes some 10 MiB."""
MAX_VALUES: Final = 100_000
MAX_TEXTS: Final = 2_000_000
"""In one array: several times the largest vocabulary, and still read in seconds."""
MAX_NAME_BYTES: Final = 64 * 1024
KEPT_STRING_BYTES: Final = 1024
"""Of a text; only names are of interest, not whole templates."""
KEPT_ITEMS: Final = 4096
"""Of an array; only those with one number a layer are of interest."""

_READ_RATHER_THAN_SKIP: Final = 4096

_STRING: Final = 8
_ARRAY: Final = 9
_NUMBERS: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}
_OLDEST, _NEWEST = 2, 3

Value = str | int | float | tuple[int | float, ...]


class GGUFError(Exception):
    """The file is no GGUF file, or a broken one; the text says why."""


@frozen
class Header:
    """The key-values of a file. Of texts the beginning is kept, of arrays only short ones of numbers."""

    values: dict[str, Value]
    version: int
    tensors: int

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """A whole number; 0 where there is none. Of an array, the largest."""
        value = self.values.get(key)
        if isinstance(value, tuple):
            value = max(map(_whole, value), default=0)
        return 0 if isinstance(value, str) or value is None else _whole(value)

    def numbers(self, key: str, count: int) -> tuple[int, ...]:
        """One number for each of `count` layers, whether the file gives one for all or one for each."""
        value = self.values.get(key)
        if isinstance(value, tuple):
            return tuple(map(_whole, value[:count]))
        return (self.number(key),) * count


def _whole(value: float) -> int:
    return int(value) if abs(value) < 2**63 else 0  # nan and infinities are not less


def read_header(path: Path) -> Header:
    """Read the header of a file. Raises `GGUFError`, and `OSError` if it cannot be read."""
    with path.open("rb") as file:
        return _Reader(file).header()


class _Reader:
    """Takes a header apart, from the front. The mutable state is how far it has come, and the byte order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_HEADER_BYTES
        self._order = "<"

    def header(self) -> Header:
        if self._file.read(4) != b"GGUF":
            raise GGUFError("it does not begin like a GGUF file")
        version = self._number("I")
        if version > 0xFFFF:
            self._order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if not _OLDEST <= version <= _NEWEST:
            raise GGUFError(f"it has version {version} of the format; {_OLDEST} and {_NEWEST} are known")
        tensors, count = self._number("Q"), self._number("Q")
        if count > MAX_VALUES:
            raise GGUFError(f"it claims to have {count} key-values")
        values: dict[str, Value] = {}
        for _ in range(count):
            name = self._string(MAX_NAME_BYTES)
            value = self._value(self._number("I"), name)
            if value is not None:
                values[name] = value
        return Header(values, version, tensors)

    def _value(self, kind: int, name: str) -> Value | None:
        if kind == _STRING:
            return self._string(MAX_HEADER_BYTES)
        if kind == _ARRAY:
            return self._array(name)
        if kind not in _NUMBERS:
            raise GGUFError(f"{name[:60]!r} has the unknown type {kind}")
        return self._number(_NUMBERS[kind])

    def _array(self, name: str) -> Value | None:
        kind, count = self._number("I"), self._number("Q")
        if kind == _STRING:
            if count > MAX_TEXTS:
                raise GGUFError(f"{name[:60]!r} claims to hold {count} texts")
            for _ in range(count):
                self._skip(self._number("Q"))
            return None
        if kind not in _NUMBERS:
            raise GGUFError(f"{name[:60]!r} is an array of the unknown type {kind}")
        layout = _NUMBERS[kind]
        size = struct.calcsize(self._order + layout)
        if count > KEPT_ITEMS:
            self._skip(count * size)
            return None
        return struct.unpack(f"{self._order}{count}{layout}", self._take(count * size))

    def _string(self, limit: int) -> str:
        length = self._number("Q")
        if length > limit:
            raise GGUFError(f"a text of {length} bytes")
        kept = self._take(min(length, KEPT_STRING_BYTES))
        self._skip(length - len(kept))
        return kept.decode("utf-8", "replace")

    def _number(self, layout: str) -> int:
        layout = self._order + layout
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return value  # type: ignore[no-any-return]  # a float where the layout says so

    def _take(self, count: int) -> bytes:
        self._spend(count)
        taken = self._file.read(count)
        if len(taken) < count:
            raise GGUFError("it ends in the middle of its header")
        return taken

    def _skip(self, count: int) -> None:
        if count <= _READ_RATHER_THAN_SKIP:
            self._take(count)
            return
        self._spend(count - 1)
        self._file.seek(count - 1, 1)
        self._take(1)  # the last byte shows that all of it is there

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise GGUFError(f"its header is larger than {MAX_HEADER_BYTES >> 20} MiB")
