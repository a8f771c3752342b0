from __future__ import annotations

import os

import pytest

from swapd.supervision.ready_fd import ReadyFd, ReadyFdError


def test_given_a_descriptor_when_ready_then_one_newline_and_the_end() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with os.fdopen(reading, "rb") as pipe:
        ready = ReadyFd(writing)
        assert not os.get_inheritable(writing)

        ready.announce()
        ready.announce()

        assert pipe.read() == b"\n"


def test_given_nobody_who_listens_then_being_ready_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    ReadyFd(writing).announce()

    with pytest.raises(OSError):
        os.fstat(writing)


@pytest.mark.parametrize("fd", [0, 1, 2, -1])
def test_given_a_standard_stream_then_it_is_refused(fd: int) -> None:
    with pytest.raises(ReadyFdError, match="must be 3 or higher"):
        ReadyFd(fd)


@pytest.mark.parametrize("fd", [987_654, 2**40])
def test_given_a_descriptor_that_was_not_passed_then_that_is_said(fd: int) -> None:
    with pytest.raises(ReadyFdError, match=f"--ready-fd {fd}: no such descriptor"):
        ReadyFd(fd)
