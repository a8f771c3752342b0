"""In a control group of its own, as a unit with `Delegate=yes` gives it, nothing escapes the daemon."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from swapd.testing.daemon import run_daemon, run_swapd, upstream_command
from tests.real.daemons import load, until
from tests.setups import config

pytestmark = pytest.mark.real


def _hierarchy() -> Path | None:
    """Where cgroup v2 is mounted, if groups can be made there."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in mounts:
        if fields[fields.index("-") + 1] == "cgroup2" and os.access(fields[4], os.W_OK):
            return Path(fields[4])
    return None


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group that is marked as systemd marks what it has delegated."""
    hierarchy = _hierarchy()
    if hierarchy is None:
        pytest.skip("no control groups (version 2) can be made here")
    group = hierarchy / f"swapd-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        os.setxattr(group, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no control group can be made and marked here: {error}")
    yield group
    (group / "cgroup.kill").write_text("1")
    for directory in (*group.iterdir(), group):
        if directory.is_dir():
            _remove(directory)


def _remove(group: Path) -> None:
    while True:
        try:
            return group.rmdir()
        except OSError:  # what was killed in it is on its way out
            continue


def within(group: Path) -> tuple[str, ...]:
    """Run a command in the group."""
    return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))


ESCAPE = "(env -i setsid sh -c 'sleep 4242 & wait' &)"
"""No environment, no session, no parent that would tell where it came from."""
COMMAND = f"""sh -c "sleep 0.5; {ESCAPE}; exec {upstream_command()}" """
"""It waits a little: a process is moved into its group right after its start, and not with it."""


def escaped(group: Path) -> list[int]:
    """The processes in the group and below it that have got away."""
    found = []
    for file in group.rglob("cgroup.procs"):
        with suppress(OSError):
            found += [int(pid) for pid in file.read_text().split() if _is_the_sleep(pid)]
    return found


def _is_the_sleep(pid: str) -> bool:
    try:
        return b"4242" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def instance_groups(group: Path) -> list[Path]:
    return list(group.glob("swapd-*"))


async def test_given_a_process_without_any_trace_of_its_origin_when_its_model_is_stopped_then_it_is_gone(
    group: Path, tmp_path: Path
) -> None:
    """The other model makes sure that it cannot be told by elimination whose it is."""
    pair = {"members": ["owl", "wren"], "swap": False}
    setup = config({"owl": COMMAND, "wren": upstream_command()}, groups={"pair": pair})
    async with run_daemon(setup, tmp_path, through=within(group)) as running:
        await load(running, "owl", "wren")
        await until(lambda: len(escaped(group)) == 2)
        assert len(instance_groups(group)) == 2

        async with running.client() as client:
            assert (await client.post("/api/models/unload/owl")).status_code == 200

        await until(lambda: escaped(group) == [])
        assert len(running.processes) == 1
        await running.stop()
    assert instance_groups(group) == []


async def test_given_that_it_outlived_daemon_and_guardian_then_the_next_start_ends_it(
    group: Path, tmp_path: Path
) -> None:
    async with run_daemon(config({"owl": COMMAND}), tmp_path, through=within(group)) as killed:
        await load(killed, "owl")
        await until(lambda: len(escaped(group)) == 2)
        guardian = killed.guardian
        assert guardian is not None
        os.kill(guardian.pid, signal.SIGKILL)
        killed.kill()
        await killed.all_gone()
        assert len(escaped(group)) == 2

        words = ("--config", str(tmp_path / "config.yaml"), "--listen", "127.0.0.1:0")
        async with run_swapd(tmp_path, "serve", *words, through=within(group)) as running:
            await until(lambda: escaped(group) == [])
            await load(running, "owl")


async def test_given_no_delegation_then_the_group_is_left_alone(group: Path, tmp_path: Path) -> None:
    """As root we could make groups anywhere. But a group has one manager, and that would be somebody else."""
    os.removexattr(group, "user.delegate")
    async with run_daemon(config({"owl": upstream_command()}), tmp_path, through=within(group)) as running:
        await load(running, "owl")

        assert instance_groups(group) == []
