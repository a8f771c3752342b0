from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from swapd.nursery.launcher import ExitStatus, StopGrace


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (ExitStatus(code=0), "exit status 0"),
        (ExitStatus(code=127), "exit status 127"),
        (ExitStatus(signal=9), "killed by SIGKILL"),
        (ExitStatus(signal=15), "killed by SIGTERM"),
        (ExitStatus(signal=40), "killed by signal 40"),
        (ExitStatus(), "exit status unknown"),
    ],
)
def test_exit_status_in_words(status: ExitStatus, text: str) -> None:
    assert status.text == text


async def test_given_work_within_a_grace_when_it_is_shortened_then_the_work_ends_earlier(
    clock: MockClock,
) -> None:
    grace = StopGrace(trio.current_time() + 100)
    ended_after = 0.0

    async def work() -> None:
        nonlocal ended_after
        started = trio.current_time()
        with grace.limit():
            await trio.sleep_forever()
        ended_after = trio.current_time() - started

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await trio.sleep(1)
        grace.shorten(trio.current_time() + 2)

    assert ended_after == 3


def test_a_grace_never_gets_longer() -> None:
    grace = StopGrace(10)
    grace.shorten(20)
    assert grace.deadline == 10
    assert grace.limit().deadline == 10
