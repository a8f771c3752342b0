"""Every stop of the daemon is bounded, and ends with nothing left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import run_daemon, upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.real.daemons import GONE_WITHIN_S, PATIENCE_S, TREES, load, open_descriptors, open_stream, until
from tests.setups import asking, chat, config, connection

pytestmark = pytest.mark.real

BEYOND_DRAIN_S = 0.5
FORCED_WITHIN_S = 1.0
SAME_WISH_S = 0.6
"""Stop signals that are closer together count as one, so that a doubled Ctrl-C cuts nobody's request."""

STUBBORN = TREES["a tree that ignores SIGTERM"]


async def test_given_a_client_that_does_not_read_when_told_to_stop_then_it_ends_with_the_drain_time(
    daemon: StartDaemon,
) -> None:
    setup = config({"owl": upstream_command("--tokens", "5000000")})
    usual_s = await _usual_stop_s(daemon)
    running = await daemon(setup, "--drain-timeout", "1s")
    async with connection(running) as client:
        await client.send(asking(chat("owl", stream=True)))
        assert (await client.head()).status == 200
        # From here on it reads nothing, and all buffers on the way fill up.

        running.signal(signal.SIGTERM)
        await running.printed("SIGTERM: stopping")
        with trio.fail_after(1 + BEYOND_DRAIN_S + usual_s):
            assert await running.exited() == 0

        assert "requests were still in progress after 1 s and have been cut" in running.output
    await running.all_gone(GONE_WITHIN_S)


async def _usual_stop_s(daemon: StartDaemon) -> float:
    """How long a stop takes here and now when it has nothing to wait for. A few hundredths, unless the
    machine is busy."""
    running = await daemon(config({"owl": upstream_command()}))
    await load(running, "owl")
    begun = trio.current_time()
    assert await running.stop() == 0
    return trio.current_time() - begun


async def test_given_a_stop_in_progress_when_told_again_then_it_exits_1_within_a_second(
    daemon: StartDaemon,
) -> None:
    running = await daemon(config({"owl": upstream_command("--hold", "--hold-after", "1", *STUBBORN)}))
    async with open_stream(running, "owl"):
        running.signal(signal.SIGTERM)
        await running.printed("SIGTERM: stopping")
        running.signal(signal.SIGTERM)  # the same wish: it goes on draining
        await trio.sleep(SAME_WISH_S)
        assert len(running.processes) == 2

        running.signal(signal.SIGTERM)
        await running.printed("SIGTERM again: stopping at once")
        with trio.fail_after(FORCED_WITHIN_S):
            assert await running.exited() == 1
    await running.all_gone(GONE_WITHIN_S)


async def test_given_a_stop_when_it_is_asked_for_again_and_again_then_no_signal_ends_it(
    daemon: StartDaemon,
) -> None:
    running = await daemon("models: {}")

    async def insist() -> None:
        while True:
            running.signal(signal.SIGTERM)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(insist)
        status = await running.exited()
        nursery.cancel_scope.cancel()

    assert status in (0, 1)  # 1 if the machine is so slow that the second wish counted


async def test_given_a_running_daemon_when_it_gets_sigquit_then_it_shows_its_stacks_and_leaves_nothing(
    daemon: StartDaemon,
) -> None:
    running = await daemon(config({"owl": upstream_command(*STUBBORN)}))
    await load(running, "owl")

    running.signal(signal.SIGQUIT)

    assert await running.exited() == -signal.SIGQUIT
    await running.all_gone(GONE_WITHIN_S)
    assert re.search(r"(Thread|Current thread) 0x[0-9a-f]+ .*:\n  File ", running.output)


async def test_given_the_signals_that_do_not_stop_it_then_each_does_what_it_is_for(
    daemon: StartDaemon,
) -> None:
    running = await daemon(config({"owl": upstream_command()}))
    await load(running, "owl")
    [process] = running.processes

    running.signal(signal.SIGUSR1)
    await running.printed(rf"state: \[owl\] ready, pid {process.pid}, 0 served")
    await running.printed(r"state: task +instance owl #1")
    running.signal(signal.SIGUSR2)
    await running.printed("SIGUSR2: the log level is now debug")
    running.signal(signal.SIGUSR2)
    await running.printed("SIGUSR2: the log level is now info")
    running.signal(signal.SIGHUP)
    await running.printed("configuration applied: 1 unchanged")
    running.signal(signal.SIGPIPE)
    await load(running, "owl")
    assert [each.pid for each in running.processes] == [process.pid]


async def test_given_100_rounds_of_start_and_stop_then_no_descriptor_and_no_process_is_left(
    daemon: StartDaemon,
) -> None:
    running = await daemon(config({"owl": upstream_command("--fork", "setsid")}))
    async with running.client(timeout_s=PATIENCE_S) as client:

        async def round() -> None:
            assert (await client.post("/v1/chat/completions", json=chat("owl"))).status_code == 200
            assert (await client.post("/api/models/unload")).status_code == 200
            assert running.processes == []

        await round()
        descriptors = open_descriptors(running.pid)
        for _ in range(99):
            await round()
        assert open_descriptors(running.pid) == descriptors
    assert _zombies(running.pid) == []


async def test_given_a_preloading_daemon_when_told_to_stop_at_once_then_it_ends_in_order(
    daemon: StartDaemon,
) -> None:
    setup = config({"owl": upstream_command("--load", "1h")}, hooks={"on_startup": {"preload": ["owl"]}})
    running = await daemon(setup)
    await until(lambda: len(running.processes) == 1)
    async with running.client() as client:
        response = await client.get("/ready")
        assert (response.status_code, response.json()) == (503, {"status": "starting", "waiting": ["owl"]})

    assert await running.stop() == 0

    await running.all_gone(GONE_WITHIN_S)


async def test_given_a_pre_stop_delay_then_requests_are_served_and_readiness_is_denied_meanwhile(
    daemon: StartDaemon,
) -> None:
    running = await daemon(config({"owl": upstream_command()}), "--pre-stop-delay", "10s")
    async with running.client(timeout_s=PATIENCE_S) as client:
        assert (await client.get("/ready")).json() == {"status": "ready"}

        running.signal(signal.SIGTERM)
        await running.printed("SIGTERM: stopping")

        response = await client.get("/ready")
        assert (response.status_code, response.json()) == (503, {"status": "stopping", "waiting": []})
        await load(running, "owl")
        await trio.sleep(SAME_WISH_S)
        running.signal(signal.SIGTERM)  # enough of it
    assert await running.exited() == 1


# --- as PID 1 -----------------------------------------------------------------------------------------


def _may_unshare() -> bool:
    try:
        tried = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False
        )
    except OSError:
        return False
    return tried.returncode == 0


IN_A_CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.mark.skipif(not _may_unshare(), reason="unshare may not make a pid namespace here")
async def test_given_a_daemon_that_is_pid_1_then_it_reaps_what_it_is_given_and_stops_in_order(
    tmp_path: Path,
) -> None:
    """Also behind an ended child of unknown origin, which a start script has left and nobody waits for."""
    start = ("sh", "-c", 'true & exec "$@"', "sh")
    orphan = "(setsid sh -c 'sleep 0.2 & exec sleep 0.1' &)"
    command = f"sh -c {_quoted(f'{orphan}; exec {upstream_command()}')}"
    async with run_daemon(config({"owl": command}), tmp_path, through=(*IN_A_CONTAINER, *start)) as running:
        await load(running, "owl")
        [pid] = [int(each) for each in _children(running.pid)]
        assert Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].split()[1] == "1"  # noqa: ASYNC240

        # The shell, its `sleep 0.1` and its `sleep 0.2` end as children of PID 1.
        await until(lambda: not [each for each in running.processes if "sleep" in each.command])
        await until(lambda: _zombies(pid) == [])

        os.kill(pid, signal.SIGTERM)
        assert await running.exited() == 0


@pytest.mark.skipif(not _may_unshare(), reason="unshare may not make a pid namespace here")
async def test_given_a_daemon_that_is_pid_1_when_it_is_killed_then_nothing_is_left(tmp_path: Path) -> None:
    setup = config({"owl": upstream_command(*STUBBORN)})
    async with run_daemon(setup, tmp_path, through=IN_A_CONTAINER) as running:
        await load(running, "owl")
        [pid] = [int(each) for each in _children(running.pid)]

        os.kill(pid, signal.SIGKILL)

        await running.all_gone(GONE_WITHIN_S)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _children(pid: int) -> list[str]:
    return [
        each for file in Path(f"/proc/{pid}/task").glob("*/children") for each in file.read_text().split()
    ]


def _zombies(pid: int) -> list[str]:
    """The children of a process that have ended and that it has not collected."""
    stats = [Path(f"/proc/{each}/stat") for each in _children(pid)]
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in stats if stat.exists()]
    return [state for state in states if state == "Z"]
