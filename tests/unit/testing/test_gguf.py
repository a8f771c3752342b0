"""The tiny models as files; what a real server makes of them is tested in tests/real/llama."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from swapd.testing.gguf import Kind, main, write_tiny_model
from swapd.testing.gguf_file import GGUFWriter, ValueType


@pytest.mark.parametrize("kind", ["chat", "tool", "embedding", "rerank"])
def test_every_kind_is_a_small_gguf_file(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "model.gguf"
    write_tiny_model(path, kind=kind, name="a-name")
    content = path.read_bytes()
    magic, version, tensors, values = struct.unpack_from("<4sIQQ", content)
    assert (magic, version) == (b"GGUF", 3)
    assert tensors > 20
    assert values > 20
    assert b"a-name" in content
    assert len(content) < 1_000_000


def test_the_seed_decides_the_weights_and_nothing_else_does(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "same", "other")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        write_tiny_model(path, seed=seed)
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other


def test_the_command_line(tmp_path: Path) -> None:
    assert main([str(tmp_path / "m.gguf"), "--kind", "rerank", "--name", "judge"]) == 0
    assert b"judge" in (tmp_path / "m.gguf").read_bytes()


def test_values_and_tensors_stand_where_the_format_wants_them(tmp_path: Path) -> None:
    # Given
    writer = GGUFWriter()
    writer.value("k", ValueType.U32, 7)
    writer.array("a", ValueType.STRING, ["x", "yz"])
    writer.tensor("v", [1.0, 2.0], half=False)
    writer.tensor("m", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    # When
    writer.write(tmp_path / "f")
    # Then: header, key-values, tensor infos, padding to 32, tensors each padded to 32
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2)
    head += string(b"k") + struct.pack("<II", 4, 7)
    head += string(b"a") + struct.pack("<IIQ", 9, 8, 2) + string(b"x") + string(b"yz")
    head += string(b"v") + struct.pack("<IQIQ", 1, 2, 0, 0)
    head += string(b"m") + struct.pack("<IQQIQ", 2, 3, 2, 1, 32)
    vector = struct.pack("<2f", 1, 2).ljust(32, b"\0")
    matrix = struct.pack("<6e", 1, 2, 3, 4, 5, 6).ljust(32, b"\0")
    assert (tmp_path / "f").read_bytes() == head + b"\0" * (-len(head) % 32) + vector + matrix


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text
