"""The GGUF container, version 3, little-endian: header, key-values, tensor infos, aligned tensor data."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

_MAGIC, _VERSION, _ALIGNMENT, _ARRAY = b"GGUF", 3, 32, 9
_F32, _F16 = 0, 1


class ValueType(IntEnum):
    """Types of metadata values, by GGUF's numbers."""

    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8


_FORMATS = {ValueType.U32: "<I", ValueType.I32: "<i", ValueType.F32: "<f", ValueType.BOOL: "<?"}


class TokenType(IntEnum):
    """What a token of the vocabulary is, by llama.cpp's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    BYTE = 6


class GGUFWriter:
    """Collects metadata and tensors, then writes the file.

    Mutable state: the encoded key-values and tensors, in the order in which they were given.
    """

    def __init__(self) -> None:
        self._values: list[bytes] = []
        self._tensors: list[tuple[bytes, bytes]] = []
        self._offset = 0

    def value(self, key: str, kind: ValueType, value: str | float) -> None:
        self._values.append(_string(key) + struct.pack("<I", kind) + _value(kind, value))

    def array(
        self, key: str, kind: ValueType, values: Sequence[str] | Sequence[int] | Sequence[float]
    ) -> None:
        head = struct.pack("<IIQ", _ARRAY, kind, len(values))
        self._values.append(_string(key) + head + b"".join(_value(kind, value) for value in values))

    def tensor(self, name: str, rows: Sequence[float] | list[list[float]], *, half: bool = True) -> None:
        """Add a vector, or a matrix as a list of its rows; as 16-bit floats unless `half` is false.

        Rows of n numbers are what GGUF describes as dimensions {n, number of rows}.
        """
        flat, dimensions = _flattened(rows)
        packed = struct.pack(f"<{len(flat)}{'e' if half else 'f'}", *flat)
        head = struct.pack(
            f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, _F16 if half else _F32, self._offset
        )
        self._tensors.append((_string(name) + head, _aligned(packed)))
        self._offset += len(self._tensors[-1][1])

    def write(self, path: Path) -> None:
        counts = struct.pack("<IQQ", _VERSION, len(self._tensors), len(self._values))
        head = b"".join([_MAGIC, counts, *self._values, *(info for info, _ in self._tensors)])
        path.write_bytes(b"".join([_aligned(head), *(content for _, content in self._tensors)]))


def _flattened(rows: Sequence[float] | list[list[float]]) -> tuple[list[float], list[int]]:
    flat: list[float] = []
    width = 0
    for row in rows:
        if isinstance(row, list):
            flat += row
            width = len(row)
        else:
            flat.append(row)
    return flat, [width, len(rows)] if width else [len(rows)]


def _aligned(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % _ALIGNMENT)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(kind: ValueType, value: str | float) -> bytes:
    if kind is ValueType.STRING:
        return _string(str(value))
    return struct.pack(_FORMATS[kind], value)
