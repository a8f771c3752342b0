"""A real child is never blocked by its output, and its last words are kept."""

from __future__ import annotations

import pytest
import trio

from swapd.nursery.reports import EndingKind
from tests.real.live_instance import Stage, python, shell

pytestmark = pytest.mark.real

FLOOD = 50_000_000


async def test_given_a_flood_of_output_then_all_of_it_is_read_and_nobody_starves(stage: Stage) -> None:
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with stage.instance(shell(f"head -c {FLOOD} /dev/zero")) as live, trio.open_nursery() as nursery:
        nursery.start_soon(somebody_else)
        ending = await live.ended()
        nursery.cancel_scope.cancel()

    assert ending.code == 0
    assert len(live.output) == FLOOD
    assert turns >= FLOOD / 65536


async def test_given_last_words_then_they_are_read_after_the_exit(stage: Stage) -> None:
    async with stage.instance(
        python("import os; os.write(2, b'x' * 60000 + b'\\nlast words\\n'); os._exit(1)")
    ) as live:
        ending = await live.ended()

    assert len(live.output) == 60012
    assert ending.message.endswith("\nlast words")


async def test_given_a_child_that_writes_while_it_is_being_stopped_then_it_is_read(stage: Stage) -> None:
    talkative = python(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'y' * 1_000_000), sys.exit(6)))\n"
        "print('up')\n"
        "signal.pause()\n"
    )
    async with stage.instance(talkative) as live:
        await live.said("up")
        ending = await live.stop()

    assert (ending.kind, ending.code) == (EndingKind.STOPPED, 6)
    assert live.output.count(b"y") == 1_000_000


async def test_given_a_stranger_that_holds_the_pipe_then_the_stop_does_not_wait_for_it(stage: Stage) -> None:
    """A process that got the pipe over a socket, say: not in the tree, so it is left alone."""
    async with stage.instance(shell("echo up; exec sleep 1000")) as live:
        await live.said("up")
        with open(f"/proc/{live.pid}/fd/1", "wb", buffering=0):  # noqa: ASYNC230, PTH123
            await live.stop()
