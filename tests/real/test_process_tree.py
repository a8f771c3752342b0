"""No process of a real tree survives its leader, wherever it has wandered."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from swapd.nursery import process_tree
from swapd.nursery.port_check import check_port_is_free
from swapd.nursery.reports import EndingKind, Ready, Spawned
from tests.real.live_instance import (
    Stage,
    is_alive,
    is_known,
    open_descriptors,
    python,
    quoted,
    shell,
    zombies,
)

pytestmark = pytest.mark.real

# It speaks itself, so that it has left the group of its parent when it is heard.
WANDERER = "setsid sh -c 'echo child $$; exec sleep 1000'"
STUBBORN = "trap '' TERM; echo child $$; while :; do sleep 1000; done"


async def test_s14_given_a_shell_that_waits_for_its_server_when_stopped_then_both_are_gone(
    stage: Stage,
) -> None:
    async with stage.instance(shell("sleep 1000 & echo child $!; wait")) as live:
        child = int(await live.said("child"))
        await live.stop()

    assert not is_alive(child)


async def test_s15_given_a_child_in_a_session_of_its_own_when_stopped_then_it_gets_sigterm(
    stage: Stage,
) -> None:
    child = python(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('child got SIGTERM'), sys.exit()))\n"
        "print('child', os.getpid())\n"
        "signal.pause()\n"
    )
    # The wrapper waits for its child, so that it is the child's own end that ends both.
    wrapper = shell(f"trap : TERM; setsid {quoted(child)} & wait $!; wait $!")
    async with stage.instance(wrapper) as live:
        pid = int(await live.said("child "))
        await live.stop()

    assert b"child got SIGTERM" in live.output
    assert not is_alive(pid)


@pytest.mark.parametrize("own_session", ["", "setsid "], ids=["same group", "own session"])
async def test_s16_given_a_child_that_ignores_sigterm_when_the_leader_obeys_then_the_child_is_killed(
    stage: Stage, own_session: str
) -> None:
    async with stage.instance(
        shell(f'{own_session}sh -c "{STUBBORN.replace("$$", chr(92) + "$$")}" & wait')
    ) as live:
        child = int(await live.said("child"))
        ending = await live.stop()

    assert ending.signal == 15
    assert not is_alive(child)


@pytest.mark.parametrize("own_session", ["", "setsid "], ids=["same group", "own session"])
async def test_s17_given_a_child_that_holds_the_port_when_the_leader_crashes_then_the_port_is_free(
    stage: Stage, own_session: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = python(
        "import os, signal, socket\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\n"
        "print('child', os.getpid())\n"
        "signal.pause()\n"
    )
    async with stage.instance(shell(f"{own_session}{quoted(server)} & wait"), port=port) as live:
        child = int(await live.said("child"))
        os.kill(live.pid, 9)
        ending = await live.ended()

        assert ending.kind is EndingKind.EXITED
        assert ending.signal == 9
        assert "possibly out of memory" in ending.message
        assert not is_alive(child)
        await check_port_is_free(port)


async def test_s18_given_a_command_that_becomes_a_daemon_then_it_fails_and_the_daemon_is_killed(
    stage: Stage,
) -> None:
    daemonize = python(
        "import os, sys, time\n"
        "started, tell = os.pipe()\n"
        "if os.fork():\n"
        "    os.read(started, 1); print('bye', file=sys.stderr); sys.exit(0)\n"
        "os.setsid()\n"
        "if os.fork():\n"
        "    os._exit(0)\n"
        "print('child', os.getpid())\n"
        "os.write(tell, b'!')\n"
        "os.closerange(0, 3)\n"
        "time.sleep(1000)\n"
    )
    async with stage.instance(daemonize, check=True) as live:
        child = int(await live.said("child"))
        ending = await live.ended()

    assert (ending.kind, ending.code) == (EndingKind.EXITED, 0)
    assert "must stay in the foreground" in ending.message
    assert ending.message.endswith("\nbye")
    assert not is_alive(child)


async def test_given_a_wandered_child_without_our_environment_when_stopped_then_parent_links_find_it(
    stage: Stage,
) -> None:
    async with stage.instance(shell(f"env -i {WANDERER} & wait")) as live:
        child = int(await live.said("child"))
        await live.stop()

    assert not is_alive(child)


async def test_given_an_orphan_without_our_environment_when_the_leader_crashes_then_it_is_found(
    subreaper: bool,
) -> None:
    stage = Stage(adopts_orphans=subreaper)
    orphan = python(
        "import os, time\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "print('child', os.getpid())\n"
        "time.sleep(1000)\n"
    )
    async with stage.instance(shell(f"env -i {quoted(orphan)}; exec sleep 1000")) as live:
        child = int(await live.said("child"))
        os.kill(live.pid, 9)
        await live.ended()

    assert not is_alive(child)


async def test_given_two_instances_when_one_ends_then_the_other_keeps_its_orphans(subreaper: bool) -> None:
    stage = Stage(adopts_orphans=subreaper)
    breeder = shell(f"({WANDERER} &); exec sleep 1000")
    async with stage.instance(breeder) as first, stage.instance(breeder) as second:
        first_child, second_child = int(await first.said("child")), int(await second.said("child"))
        await first.stop()

        assert not is_alive(first_child)
        assert is_alive(second_child)
        assert is_alive(second.pid)

    assert not is_alive(second_child)


async def test_given_a_grandchild_that_keeps_forking_then_all_of_it_goes(stage: Stage) -> None:
    forking = python(
        "import os, time\n"
        "os.setsid()\n"
        "print('child', os.getpid())\n"
        "for _ in range(100):\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.setsid(); time.sleep(0.01)\n"
        "time.sleep(1000)\n"
    )
    async with stage.instance(shell(f"{quoted(forking)} & exec sleep 1000")) as live:
        await live.said("child")
        await live.stop()


async def test_given_a_tree_when_killed_then_members_outside_the_group_die_too(stage: Stage) -> None:
    async with stage.instance(shell(f"setsid sh -c {quoted([STUBBORN])} & wait")) as live:
        child = int(await live.said("child"))
        live.control.kill()
        await live.ended()

    assert not is_alive(child)


async def test_given_a_member_that_sigkill_does_not_end_then_the_stop_is_bounded_and_names_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_tree, "signal_entry", lambda entry, signal: None)
    monkeypatch.setattr(process_tree, "REMOVE_LIMIT_S", 0.05)
    async with stage.instance(shell(f"{WANDERER} & wait")) as live:
        child = int(await live.said("child"))
        await live.stop()
        os.kill(child, 9)
        while is_alive(child):  # noqa: ASYNC110 - not ours to wait for
            await trio.sleep(0.01)

    [error] = stage.errors
    assert error.startswith(f"owl: processes {child}, started by pid {live.pid}, do not react to SIGKILL")


async def test_given_a_hundred_rounds_then_no_process_zombie_or_descriptor_is_left(stage: Stage) -> None:
    # The first round opens what stays open for good (such as the event loop's own descriptors).
    before: list[str] = []
    pids: list[int] = []
    for round_number in range(100):
        command = shell("sleep 1000 & echo up; wait") if round_number % 2 else ("sleep", "1000")
        async with stage.instance(command) as live:
            await live.reported(Ready if round_number % 3 else Spawned)
            pids.append(live.pid)
            await live.stop()
        before = before or open_descriptors()

    assert open_descriptors() == before
    assert [pid for pid in pids if is_known(pid)] == []
    assert zombies() == []
