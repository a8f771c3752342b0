"""Headers of GGUF files, also of such as somebody has broken or built to do harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swapd.cli.discovery import gguf
from swapd.cli.discovery.gguf import GGUFError, read_header
from swapd.testing.gguf import write_tiny_model
from tests.unit.cli.discovery.files import header

VALUES = {
    "general.architecture": "llama",
    "general.name": "Owl",
    "llama.block_count": 2,
    "llama.attention.head_count_kv": [4, 2],
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "a" * 5000],
    "tokenizer.ggml.scores": [1.5] * 10,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "x" * 10_000,
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_given_a_header_in_either_byte_order_when_read_then_its_values_are_there(
    tmp_path: Path, order: str, version: int
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(header(VALUES, order=order, version=version))

    found = read_header(path)

    assert (found.version, found.text("general.name")) == (version, "Owl")
    assert found.number("llama.block_count") == 2
    assert found.number("llama.attention.head_count_kv") == 4
    assert found.numbers("llama.attention.head_count_kv", 2) == (4, 2)
    assert found.numbers("llama.block_count", 3) == (2, 2, 2)
    assert len(found.text("tokenizer.chat_template")) == gguf.KEPT_STRING_BYTES
    assert "tokenizer.ggml.tokens" not in found.values
    assert (found.number("no such"), found.text("llama.block_count")) == (0, "")


def test_given_a_model_that_llama_cpp_loads_when_read_then_it_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_tiny_model(path, name="wren")

    found = read_header(path)

    assert found.text("general.name") == "wren"
    assert found.number(f"{found.text('general.architecture')}.block_count") > 0
    assert found.tensors > 0


def test_given_a_header_that_is_cut_off_anywhere_when_read_then_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    whole = header({**VALUES, "tokenizer.chat_template": "x" * 50, "tokenizer.ggml.tokens": ["a", "b"]})
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(GGUFError):
            read_header(path)
    path.write_bytes(whole)
    assert read_header(path).version == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 and so on", "does not begin like"),
        (header({}, version=1), "version 1"),
        (header({}, version=9), "version 9"),
        (header({}, count=2**63), "claims to have"),
        (header({"a": "b"})[:-9] + (2**62).to_bytes(8, "little"), "a text of 4611686018427387904 bytes"),
        (header({"a": 1})[:-8] + b"\x63\0\0\0" + b"\0" * 8, "unknown type 99"),
        (header({"n" * 70_000: 1}), "a text of 70000 bytes"),
    ],
)
def test_given_a_file_that_is_wrong_when_read_then_it_says_why(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(GGUFError, match=reason):
        read_header(path)


def test_given_a_sparse_file_with_an_endless_vocabulary_when_read_then_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    whole = header({"tokens": ["a"]})
    path.write_bytes(
        whole.replace((1).to_bytes(8, "little") + b"\x01", (2**60).to_bytes(8, "little") + b"\x01")
    )
    with path.open("r+b") as file:
        file.truncate(64 * 1024**3)
    with pytest.raises(GGUFError, match="claims to hold"):
        read_header(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    values=st.dictionaries(
        st.text(max_size=8), st.one_of(st.text(max_size=9), st.integers(0, 2**32 - 1), st.floats(width=32))
    ),
)
def test_given_any_bytes_when_read_then_there_is_a_header_or_a_reason(
    tmp_path: Path, changes: list[tuple[int, int]], values: dict[str, str | int | float]
) -> None:
    content = bytearray(header(values))
    for position, byte in changes:
        if position < len(content):
            content[position] = byte
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    try:
        found = read_header(path)
    except GGUFError:
        return
    for name in found.values:
        found.number(name)
        found.numbers(name, 5)
        found.text(name)
