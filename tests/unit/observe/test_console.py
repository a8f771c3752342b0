"""Standard output behind its queue: whatever its reader does, nobody waits."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from swapd.observe.console import Console


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    for fd in (read_end, write_end):
        try:
            os.close(fd)
        except OSError:
            pass


def read_to_end(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 65_536):
        data += chunk
    return data


def test_given_lines_when_closed_then_they_have_been_written_in_order(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    console = Console(write_end)

    for number in range(100):
        console.write(b"line %d\n" % number)
    console.close(timeout_s=10)

    os.close(write_end)
    assert read_to_end(read_end) == b"".join(b"line %d\n" % number for number in range(100))


def test_given_one_line_when_written_then_it_arrives_without_closing(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    console = Console(write_end)

    console.write(b"at once\n")

    assert os.read(read_end, 100) == b"at once\n"
    console.close(timeout_s=10)


def test_given_nothing_to_write_when_closed_then_no_thread_was_ever_made(pipe: tuple[int, int]) -> None:
    console = Console(pipe[1])

    console.close()

    assert console._writer is None


def test_given_a_pipe_nobody_reads_when_flooded_then_lines_are_dropped_and_counted(
    pipe: tuple[int, int],
) -> None:
    read_end, write_end = pipe
    console = Console(write_end, limit=300_000)
    line = b"x" * 999 + b"\n"

    # 10 MB into a pipe of 64 KiB: the calls return, the queue stays within its limit
    for _ in range(10_000):
        console.write(line)
        assert console._queued_bytes - console._done_bytes <= 300_100
    console.close(timeout_s=0)  # and the end does not wait for the reader either

    assert console.dropped_lines > 9_000
    assert console._writer is not None
    assert console._writer.is_alive()
    os.close(read_end)  # lets the hanging write fail
    console._writer.join()


def test_given_dropped_lines_when_there_is_room_again_then_a_note_stands_in_their_place(
    pipe: tuple[int, int],
) -> None:
    read_end, write_end = pipe
    console = Console(write_end, limit=10)

    console.write(b"too long for the queue\n")
    console.write(b"also too long\n")
    console.write(b"short\n")
    console.close(timeout_s=10)

    os.close(write_end)
    assert read_to_end(read_end) == (
        b"[WARN] 2 log lines were dropped because standard output was not read\nshort\n"
    )
    assert console.dropped_lines == 2


def test_given_dropped_lines_at_the_end_when_closed_then_the_note_is_still_written(
    pipe: tuple[int, int],
) -> None:
    read_end, write_end = pipe
    console = Console(write_end, limit=10)

    console.write(b"short\n")
    console.write(b"too long for the queue\n")
    console.close(timeout_s=10)

    os.close(write_end)
    assert read_to_end(read_end).endswith(
        b"[WARN] 1 log lines were dropped because standard output was not read\n"
    )


def test_given_a_reader_that_went_away_when_written_then_nothing_breaks(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    os.close(read_end)
    console = Console(write_end)

    console.write(b"into the void\n")
    console.close(timeout_s=10)

    assert console._writer is not None
    assert not console._writer.is_alive()


def test_given_a_descriptor_that_somebody_made_non_blocking_when_it_is_full_then_the_writer_waits_for_room(
    pipe: tuple[int, int],
) -> None:
    read_end, write_end = pipe
    os.set_blocking(write_end, False)
    console = Console(write_end)
    text = b"".join(b"%06d\n" % number for number in range(60_000))  # more than any pipe takes at once

    for start in range(0, len(text), 7_000):
        console.write(text[start : start + 7_000])
    seen = b""
    while len(seen) < len(text):
        seen += os.read(read_end, 65_536)

    assert seen == text
    console.close(timeout_s=10)
