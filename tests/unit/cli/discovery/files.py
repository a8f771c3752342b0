"""GGUF headers for tests, byte by byte: in either byte order, true to life or broken."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

Value = str | int | float | bool | Sequence[str] | Sequence[int]


def header(
    values: Mapping[str, Value], *, order: str = "<", version: int = 3, count: int | None = None
) -> bytes:
    """The bytes of a header with these key-values; `count` is how many it claims to have."""
    known = len(values) if count is None else count
    parts = [b"GGUF", struct.pack(f"{order}IQQ", version, 0, known)]
    for name, value in values.items():
        kind, encoded = _encoded(value, order)
        parts += [_string(name, order), struct.pack(f"{order}I", kind), encoded]
    return b"".join(parts)


def _encoded(value: Value, order: str) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return 7, bytes([value])
    if isinstance(value, int):
        return 4, struct.pack(f"{order}I", value)
    if isinstance(value, float):
        return 6, struct.pack(f"{order}f", value)
    if isinstance(value, str):
        return 8, _string(value, order)
    items = [_encoded(item, order) for item in value]
    kind = items[0][0] if items else 4
    head = struct.pack(f"{order}IQ", kind, len(items))
    return 9, head + b"".join(encoded for _, encoded in items)


def _string(text: str, order: str) -> bytes:
    encoded = text.encode()
    return struct.pack(f"{order}Q", len(encoded)) + encoded


def write_model(path: Path, *, size: int = 0, architecture: str = "llama", **values: Value) -> Path:
    """A file with a header like a model's, as large as `size` bytes without taking room on the disk.

    Names of values are those of the architecture: `block_count` is `llama.block_count`, and `__` stands for
    a dot. `general` values begin with `general__`."""
    known: dict[str, Value] = {"general.architecture": architecture}
    for name, value in values.items():
        key = name.replace("__", ".")
        known[key if key.startswith(("general.", "tokenizer.")) else f"{architecture}.{key}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    content = header(known)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(max(size, len(content)))
    return path
