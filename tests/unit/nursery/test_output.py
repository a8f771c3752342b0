from __future__ import annotations

import os
from itertools import pairwise

import pytest
import trio

from swapd.nursery.output import CHUNK, OutputDrain, StderrTail


def tail_of(*chunks: bytes) -> str:
    tail = StderrTail()
    for chunk in chunks:
        tail.feed(chunk)
    return tail.text


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([], ""),
        ([b"one\ntwo\n"], "one\ntwo"),
        ([b"on", b"e"], "one"),
        ([b"\x1b[31mred\x07\ttab\r\n"], r"\x1b[31mred\x07\x09tab\x0d"),
        ("naïve 漢".encode().split(b"v"), "naïe 漢"),
        ([b"bad \xff byte"], "bad � byte"),
        (["\x85 next line".encode()], r"\x85 next line"),
    ],
)
def test_the_tail_is_readable_text(chunks: list[bytes], text: str) -> None:
    assert tail_of(*chunks) == text


def test_given_many_lines_then_the_last_2_kib_from_a_line_start() -> None:
    text = tail_of(*(f"line {number}\n".encode() for number in range(10_000)))

    assert text.endswith("line 9998\nline 9999")
    assert text.startswith("line ")
    assert 2000 < len(text) <= 2048


def test_given_one_endless_line_then_its_last_2_kib() -> None:
    assert tail_of(b"a" * 100_000, "é".encode() * 1024) == "é" * 1024


def test_given_escapes_then_the_limit_holds_for_what_is_shown() -> None:
    assert tail_of(b"\x00" * 2000) == r"\x00" * 512


async def test_given_output_on_both_pipes_then_chunks_arrive_marked_until_the_end() -> None:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    chunks: list[tuple[bytes, bool]] = []
    drain = OutputDrain(out_read, err_read, lambda chunk, is_stderr: chunks.append((chunk, is_stderr)))
    os.write(out_write, b"hello")
    os.write(err_write, b"oops\n")
    os.close(out_write)
    os.close(err_write)

    await drain.run()

    assert sorted(chunks) == [(b"hello", False), (b"oops\n", True)]
    assert drain.stderr_tail == "oops"


async def test_given_a_cancelled_drain_when_run_again_then_nothing_is_lost() -> None:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    received = bytearray()
    drain = OutputDrain(out_read, err_read, lambda chunk, is_stderr: received.extend(chunk))
    with trio.CancelScope() as scope:
        scope.cancel()
        await drain.run()
    os.write(out_write, b"later")
    os.close(out_write)
    os.close(err_write)

    await drain.run()

    assert received == b"later"


async def test_given_a_flood_then_one_chunk_a_pass_so_that_others_get_their_turn() -> None:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    sizes: list[int] = []
    turns: list[int] = []
    drain = OutputDrain(out_read, err_read, lambda chunk, is_stderr: sizes.append(len(chunk)))

    async def flood() -> None:
        os.set_blocking(out_write, False)
        for _ in range(20):
            await trio.lowlevel.wait_writable(out_write)
            os.write(out_write, bytes(4096))
        os.close(out_write)
        os.close(err_write)

    async def somebody_else() -> None:
        while len(sizes) < 5:
            turns.append(len(sizes))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        nursery.start_soon(somebody_else)
        await drain.run()

    assert max(sizes) <= CHUNK
    # trio shuffles who comes first within a pass, so the drain may have its turns of two passes in a row.
    assert all(later - earlier <= 2 for earlier, later in pairwise(turns))
    assert len(turns) >= 3


async def test_given_somebody_who_keeps_the_pipe_open_then_finish_is_bounded() -> None:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    received = bytearray()
    drain = OutputDrain(out_read, err_read, lambda chunk, is_stderr: received.extend(chunk))
    os.write(out_write, b"last words")

    await drain.finish(0.01)

    assert received == b"last words"
    with pytest.raises(BrokenPipeError):
        os.write(out_write, b"nobody reads")
    os.close(out_write)
    os.close(err_write)
