"""Finding what a test has started."""

from __future__ import annotations

import os
import subprocess
import sys
from uuid import uuid4

import pytest
import trio
import trio.testing

from swapd.testing.processes import (
    MARKER,
    child_processes,
    kill_processes,
    marked_processes,
    reap_children,
    wait_until_gone,
)

pytestmark = pytest.mark.real

STRAY = """
import os, signal
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
os.close(1)
signal.pause()
"""


async def test_a_process_that_left_for_another_session_is_found_by_its_marker_and_seen_to_go() -> None:
    # Given
    marker = uuid4().hex
    started = await trio.run_process(
        [sys.executable, "-c", STRAY], capture_stdout=True, env={**os.environ, MARKER: marker}, stdin=None
    )
    stray = int(started.stdout)
    # When
    found = marked_processes(marker)
    # Then
    assert [process.pid for process in found] == [stray]
    assert "signal.pause" in str(found[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_until_gone, marker)
        await trio.testing.wait_all_tasks_blocked()
        kill_processes(found)
    assert marked_processes(marker) == []


def test_children_are_listed_until_they_are_reaped() -> None:
    # Given
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    # When
    (listed,) = child_processes()
    kill_processes([listed])
    # Then
    assert listed.pid == child.pid
    assert child_processes() != []
    reap_children([listed])
    assert child_processes() == []
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
