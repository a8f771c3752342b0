"""Stopping real processes: the signal, the stop command, the grace, and the kill at its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from swapd.nursery import local_launcher
from swapd.nursery.process_tree import ProcessTree
from swapd.nursery.reports import EndingKind, Gone, Spawned
from tests.real.live_instance import Stage, is_alive, python, shell

pytestmark = pytest.mark.real

IGNORES_TERM = shell("trap '' TERM; echo up; while :; do sleep 1000; done")
EXITS_WITH_7_ON_TERM = python(
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), sys.exit(7)))\n"
    "print('up')\n"
    "signal.pause()\n"
)


async def test_given_a_process_that_needs_a_while_then_it_is_not_killed_early(stage: Stage) -> None:
    async with stage.instance(EXITS_WITH_7_ON_TERM) as live:
        await live.said("up")
        ending = await live.stop()

    assert (ending.kind, ending.code) == (EndingKind.STOPPED, 7)


async def test_given_a_process_that_ignores_sigterm_then_it_is_killed_when_the_grace_is_over(
    stage: Stage,
) -> None:
    async with stage.instance(IGNORES_TERM) as live:
        await live.said("up")
        ending = await live.stop(0.1)

    assert (ending.kind, ending.signal) == (EndingKind.STOPPED, 9)


async def test_given_a_stop_in_progress_when_killed_then_it_is_gone_at_once(stage: Stage) -> None:
    async with stage.instance(IGNORES_TERM) as live:
        await live.said("up")
        live.control.request_stop(1000)
        live.control.kill()
        assert (await live.ended()).signal == 9


async def test_given_a_running_process_when_cancelled_then_it_is_gone_before_the_task_ends(
    stage: Stage,
) -> None:
    async with stage.instance(EXITS_WITH_7_ON_TERM) as live:
        await live.said("up")
        live.scope.cancel()
        assert (await live.ended()).code == 7

    assert live.kinds == [Spawned, *live.kinds[1:-1], Gone]


async def test_given_a_process_that_sigkill_does_not_end_then_it_is_said_again_and_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can make the kernel hold on to a process for a test; so SIGKILL is held back."""
    monkeypatch.setattr(ProcessTree, "kill", lambda self: None)
    monkeypatch.setattr(local_launcher, "_STUCK_AFTER_S", 0.01)
    monkeypatch.setattr(local_launcher, "_STUCK_AGAIN_S", 0.01)
    async with stage.instance(IGNORES_TERM) as live:
        await live.said("up")
        live.control.request_stop(0.01)
        while len(stage.errors) < 2:  # noqa: ASYNC110 - it only tells the log
            await trio.sleep(0.01)
        stuck_meanwhile = live.control.stuck
        os.kill(live.pid, signal.SIGKILL)
        await live.ended()

    assert (stuck_meanwhile, live.control.stuck) == (True, False)
    assert f"owl: pid {live.pid} has not ended" in stage.errors[0]


# -- the stop command


async def test_s20_given_a_stop_command_then_it_gets_pid_and_environment_and_no_signal_is_sent(
    stage: Stage, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    server = shell(f"trap 'exit 99' TERM; echo up; while [ ! -e {flag} ]; do sleep 0.02; done; exit 4")
    command = shell(f'echo "pid=${{PID}} X=$X group=$(ps -o pgid= $$)"; touch {flag}; exec sleep 1000')
    async with stage.instance(server, stop=command, env=["X=1"]) as live:
        await live.said("up")
        ending = await live.stop()
        seen = await live.said("pid=")

    pid, x, group = seen.replace("= ", "=").split()[:3]
    assert (pid, x) == (str(live.pid), "X=1")
    assert group != f"group={live.pid}"
    assert (ending.kind, ending.code) == (EndingKind.STOPPED, 4)
    assert stage.errors == []


async def test_s21_given_a_stop_command_that_hangs_then_both_are_killed_when_the_grace_is_over(
    stage: Stage,
) -> None:
    hanging = shell("sleep 1000 & echo hanging $$; wait")
    async with stage.instance(["sleep", "1000"], stop=hanging) as live:
        await live.reported(Spawned)
        live.control.request_stop(0.3)
        stop_pid = int(await live.said("hanging"))
        ending = await live.ended()

    assert ending.signal == 9
    assert not is_alive(stop_pid)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (shell("exit 1"), "the stop command failed (exit status 1); sending SIGTERM instead"),
        (("no-such-program",), "the stop command failed (cannot run no-such-program: No such file"),
    ],
    ids=["fails", "missing"],
)
async def test_s22_given_a_stop_command_that_fails_then_sigterm_follows_at_once(
    stage: Stage, command: tuple[str, ...], complaint: str
) -> None:
    async with stage.instance(EXITS_WITH_7_ON_TERM, stop=command) as live:
        await live.said("up")
        assert (await live.stop()).code == 7

    [error] = stage.errors
    assert error.startswith(f"owl: {complaint}")
