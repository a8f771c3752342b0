"""Nothing stays behind when the daemon itself dies, and nothing adopted stays a zombie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from swapd.nursery.spawn import find_death_signal_helper
from swapd.supervision.reaper import reap_orphans
from tests.real.live_instance import PATIENCE_S, is_alive, is_known, marked_pids

pytestmark = pytest.mark.real

DAEMON = """
import sys, trio
from swapd.nursery.instance import InstanceControl, InstanceSpec, run_instance
from swapd.nursery.launcher import LaunchSpec
from swapd.nursery.local_launcher import LocalLauncher
from swapd.nursery.process_tree import OwnChildren
from swapd.nursery.prober import HttpProber

async def main():
    launcher = LocalLauncher(own_children=OwnChildren(), adopts_orphans=False, log_error=print)
    launch = LaunchSpec(
        model="owl", gen=1, argv=("sh", "-c", "trap '' TERM HUP; while :; do sleep 1000; done"),
        base_url="http://127.0.0.1:1", instance_uuid=sys.argv[1],
    )
    spec = InstanceSpec(launch, check_url=None, health_timeout_s=15)
    report = lambda each: print(f"{type(each).__name__} {getattr(each, 'pid', '')}", flush=True)
    await run_instance(spec, InstanceControl(), launcher, HttpProber(), report, lambda *_: None)

trio.run(main)
"""


def start(*command: str, start_new_session: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, start_new_session=start_new_session, stdout=subprocess.PIPE)


@pytest.mark.skipif(not find_death_signal_helper(), reason="no setpriv of util-linux here")
async def test_given_a_daemon_killed_with_9_then_its_leaders_are_gone(tmp_path: Path) -> None:
    daemon = start(sys.executable, "-c", DAEMON, str(tmp_path), start_new_session=False)
    with daemon:
        assert daemon.stdout is not None
        spawned, pid = daemon.stdout.readline().split()
        assert spawned == b"Spawned"
        pidfd = os.pidfd_open(int(pid))
        assert is_alive(int(pid))
        daemon.kill()
    try:
        with trio.fail_after(PATIENCE_S):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    # The shell's own `sleep` has no such signal: that is the guardian's part.
    for left in marked_pids(str(tmp_path)):
        os.kill(left, signal.SIGKILL)


async def until(condition: Callable[[], bool]) -> None:
    """Look until it holds: nothing tells us what the reaper or the kernel has done."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_given_ended_children_then_adopted_ones_are_collected_and_our_own_are_not(
    subreaper: bool,
) -> None:
    own = start("true", start_new_session=True)
    unregistered = start("true", start_new_session=False)
    parent = start("sh", "-c", "setsid sleep 0.05 & echo $!", start_new_session=True)
    with own, unregistered, parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reap_orphans, lambda pid: pid in (own.pid, parent.pid))
            await until(lambda: not any(is_alive(pid) for pid in (own.pid, unregistered.pid, parent.pid)))
            assert [own.wait(), unregistered.wait(), parent.wait()] == [0, 0, 0]
            await until(lambda: not is_known(orphan))
            nursery.cancel_scope.cancel()
