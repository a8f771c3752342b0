"""A daemon that starts after one that was killed: what is left is ended, and the first request is served."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from swapd.supervision.marked_processes import read_stat
from swapd.supervision.records import InstanceRecord
from swapd.testing.daemon import Daemon, run_daemon, run_swapd, upstream_command
from swapd.testing.ports import free_port
from tests.real.daemons import GONE_WITHIN_S, TREES, bystander, files, load, state_directory, until
from tests.setups import asking, chat, config, connection

pytestmark = pytest.mark.real


@asynccontextmanager
async def successor(killed: Daemon, *arguments: str) -> AsyncIterator[Daemon]:
    """A daemon in the same place with the same configuration."""
    words = ("--config", str(killed.directory / "config.yaml"), "--listen", "127.0.0.1:0", *arguments)
    async with run_swapd(killed.directory, "serve", *words) as running:
        yield running


def kill_with_guardian(running: Daemon) -> None:
    """So that only the death signal and the next start are left to clean up."""
    guardian = running.guardian
    assert guardian is not None
    os.kill(guardian.pid, signal.SIGKILL)
    running.kill()


def only_record(running: Daemon) -> tuple[Path, InstanceRecord]:
    [path] = (state_directory(running) / "instances").iterdir()
    return path, msgspec.json.decode(path.read_bytes(), type=InstanceRecord)


async def test_given_a_running_model_then_it_is_on_record_until_it_is_stopped(tmp_path: Path) -> None:
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as running:
        assert files(state_directory(running)) == ["daemon.json", "lock"]
        await load(running, "owl")
        [process] = running.processes

        path, record = only_record(running)

        assert (record.model, record.gen, record.pid) == ("owl", 1, process.pid)
        assert path.name.startswith(record.instance)
        async with running.client() as client:
            await client.post("/api/models/unload")
        assert files(state_directory(running)) == ["daemon.json", "lock"]
        await running.stop()
        assert files(state_directory(running)) == ["lock"]


async def test_given_a_killed_daemon_when_another_starts_at_once_then_it_serves_the_first_request(
    tmp_path: Path,
) -> None:
    """With the port of the model still held by what the first one has left, for as long as that lives."""
    flags = (*TREES["a tree that ignores SIGTERM"], "--fork-hold-port")
    address = f"127.0.0.1:{free_port()}"
    async with run_daemon(config({"owl": upstream_command(*flags)}), tmp_path, "--listen", address) as killed:
        await load(killed, "owl")

        killed.kill()
        await killed.exited()
        async with successor(killed, "--listen", address) as running:
            await load(running, "owl")

        await killed.all_gone()


@pytest.mark.parametrize("tree", ["a child in a session of its own", "a tree that ignores SIGTERM"])
async def test_given_that_the_guardian_is_killed_too_then_the_next_start_ends_what_is_left(
    tmp_path: Path, tree: str
) -> None:
    async with run_daemon(config({"owl": upstream_command(*TREES[tree])}), tmp_path) as killed:
        await load(killed, "owl")
        leader = only_record(killed)[1].pid
        [grandchild] = [process for process in killed.processes if process.pid != leader]

        with bystander():
            kill_with_guardian(killed)
            await killed.exited()
            await until(lambda: [process.pid for process in killed.processes] == [grandchild.pid])
            async with successor(killed) as running:
                # Ready now, so the sweep is over.
                await killed.all_gone(GONE_WITHIN_S)
                said, _, _ = running.output.partition("listening on")
                assert f"the swapd before this one (pid {killed.pid}) did not end in order" in said
                assert f"pid {grandchild.pid} (" in said
                assert "was left by an earlier swapd; sent SIGTERM" in said
                await load(running, "owl")
        assert files(state_directory(running)) == ["lock"]


async def test_given_a_stranger_with_a_recorded_pid_when_swept_then_it_is_untouched(tmp_path: Path) -> None:
    """Even if everything about it fits but the marker, which nobody has by chance."""
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as killed:
        await load(killed, "owl")
        kill_with_guardian(killed)
        await killed.all_gone()
        with bystander() as stranger:
            path, record = only_record(killed)
            stat = read_stat(stranger.pid)
            assert stat is not None
            ran = tmp_path / "ran"
            command = ("sh", "-c", f"echo ${{PID}} > {shlex.quote(str(ran))}")
            forged = msgspec.structs.replace(
                record, pid=stranger.pid, group=stranger.pid, start_ticks=stat[1], stop_argv=command
            )
            path.write_bytes(msgspec.json.encode(forged))

            async with successor(killed) as running:
                await load(running, "owl")

                assert stranger.poll() is None
                assert not ran.exists()


async def test_given_a_container_when_the_daemon_is_killed_then_the_next_start_runs_its_stop_command(
    tmp_path: Path,
) -> None:
    """What a container runtime started does not descend from us. Its client does, and is gone."""
    stopped = tmp_path / "stopped"
    stop = f"sh -c 'echo stopped >> {stopped}'"
    setup = config({"owl": {"cmd": upstream_command(), "cmdStop": stop}})
    async with run_daemon(setup, tmp_path) as killed:
        await load(killed, "owl")
        killed.kill()
        await killed.all_gone(GONE_WITHIN_S)
        assert not stopped.exists()

        async with successor(killed) as running:
            assert stopped.read_text() == "stopped\n"
            assert "owl: left by an earlier swapd; stopped with" in running.output
        async with successor(killed) as running:
            pass
        assert stopped.read_text() == "stopped\n"


async def test_given_a_stop_command_that_a_forced_stop_left_no_time_for_then_the_next_start_runs_it(
    tmp_path: Path,
) -> None:
    stopped = tmp_path / "stopped"
    stop = f"sh -c 'echo stopped >> {stopped}'"
    setup = config({"owl": {"cmd": upstream_command("--hold"), "cmdStop": stop}})
    async with run_daemon(setup, tmp_path) as forced:
        async with connection(forced) as client:
            await client.send(asking(chat("owl")))
            await forced.printed("owl. starting → ready")
            forced.signal(signal.SIGTERM)
            await forced.printed("waiting for 1 request")  # after 5 s: far enough apart to count twice
            forced.signal(signal.SIGTERM)
            assert await forced.exited() == 1
        assert not stopped.exists()

        async with successor(forced):
            assert stopped.read_text() == "stopped\n"


async def test_given_a_second_daemon_in_the_same_place_then_it_exits_75_and_names_the_first(
    tmp_path: Path,
) -> None:
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as running:
        state = state_directory(running)

        second = await trio.run_process(
            [sys.executable, "-m", "swapd", "--config", str(tmp_path / "config.yaml"),
             "--listen", "127.0.0.1:0", "--state-dir", str(state)],
            capture_stdout=True, capture_stderr=True, check=False,
        )  # fmt: skip

        assert (second.returncode, second.stdout) == (75, b"")
        assert second.stderr.decode() == (
            f"swapd: cannot start: another swapd (pid {running.pid}) uses the state directory {state}\n"
            "hint: stop that one, or give this one a directory of its own with --state-dir DIR\n"
        )
        await load(running, "owl")


async def test_given_a_broken_record_then_it_is_reported_and_the_daemon_starts(tmp_path: Path) -> None:
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as killed:
        await load(killed, "owl")
        path, _ = only_record(killed)
        kill_with_guardian(killed)
        await killed.all_gone()
        path.write_bytes(path.read_bytes()[:40])
        note = path.with_name("note.txt")
        note.write_text("mine")

        async with successor(killed) as running:
            await load(running, "owl")
            assert f"the state record {path} is damaged" in running.output
            assert f"{note} is no state record of swapd; it is left alone" in running.output
        assert note.read_text() == "mine"


async def test_given_no_state_directory_to_be_had_then_the_daemon_says_so_and_works(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    places = {"XDG_STATE_HOME": str(in_the_way), "HOME": str(in_the_way)}

    async with run_daemon(config({"owl": upstream_command()}), tmp_path, environment=places) as running:
        await load(running, "owl")

        assert f"cannot use the state directory {in_the_way}/swapd: Not a directory" in running.output
