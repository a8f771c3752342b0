"""`kill -9` of the daemon leaves nothing of its own behind, and touches nothing of others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from swapd.testing.daemon import run_daemon, upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.real.daemons import (
    GONE_WITHIN_S,
    TREES,
    bystander,
    load,
    open_stream,
    size,
    until,
    upstreams,
)
from tests.setups import asking, chat, config, connection

pytestmark = pytest.mark.real


async def test_given_a_daemon_without_models_when_killed_then_its_guardian_ends(daemon: StartDaemon) -> None:
    running = await daemon(config({"owl": upstream_command()}))
    await until(lambda: running.guardian is not None)

    running.kill()

    await running.all_gone(GONE_WITHIN_S)


@pytest.mark.parametrize("tree", TREES)
async def test_given_an_idle_model_when_the_daemon_is_killed_then_nothing_of_it_is_left(
    daemon: StartDaemon, tree: str
) -> None:
    running = await daemon(config({"owl": upstream_command(*TREES[tree])}))
    await load(running, "owl")
    assert len(running.processes) == size(tree)

    with bystander():
        running.kill()

        await running.all_gone(GONE_WITHIN_S)


@pytest.mark.parametrize("tree", TREES)
async def test_given_a_loading_model_when_the_daemon_is_killed_then_nothing_of_it_is_left(
    daemon: StartDaemon, tree: str
) -> None:
    running = await daemon(config({"owl": upstream_command("--load", "1h", *TREES[tree])}))
    async with connection(running) as client:
        await client.send(asking(chat("owl")))
        await until(lambda: len(upstreams(running)) == size(tree))

        with bystander():
            running.kill()

            await running.all_gone(GONE_WITHIN_S)


@pytest.mark.parametrize("tree", TREES)
async def test_given_a_stream_when_the_daemon_is_killed_then_nothing_of_it_is_left(
    daemon: StartDaemon, tree: str
) -> None:
    flags = ("--hold", "--hold-after", "2", *TREES[tree])
    running = await daemon(config({"owl": upstream_command(*flags)}))
    async with open_stream(running, "owl"):
        assert len(running.processes) == size(tree)

        with bystander():
            running.kill()

            await running.all_gone(GONE_WITHIN_S)


async def test_given_two_daemons_when_one_is_killed_then_the_other_keeps_its_models(
    daemon: StartDaemon,
) -> None:
    setup = config({"owl": upstream_command("--fork", "setsid")})
    killed, other = await daemon(setup), await daemon(setup)
    await load(killed, "owl")
    await load(other, "owl")
    before = other.processes

    killed.kill()
    await killed.all_gone(GONE_WITHIN_S)

    assert len(before) == 2
    assert other.processes == before
    await load(other, "owl")
    assert other.processes == before


async def test_given_a_guardian_that_was_killed_then_another_takes_its_place(daemon: StartDaemon) -> None:
    running = await daemon(config({"owl": upstream_command("--fork", "setsid")}))
    await load(running, "owl")
    first = running.guardian
    assert first is not None

    os.kill(first.pid, signal.SIGKILL)
    await running.printed(rf"the guardian \(pid {first.pid}\) was killed; starting another")
    await until(lambda: running.guardian is not None)
    running.kill()

    await running.all_gone(GONE_WITHIN_S)


async def test_given_a_signal_to_everybody_when_it_is_not_sigkill_then_the_guardian_stays(
    daemon: StartDaemon,
) -> None:
    """As a service manager sends one to a whole control group, or a terminal that is closed."""
    running = await daemon(config({"owl": upstream_command("--fork", "setsid")}))
    await load(running, "owl")
    guardian = running.guardian
    assert guardian is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(guardian.pid, number)

    running.kill()

    await running.all_gone(GONE_WITHIN_S)


async def test_given_a_child_that_did_not_yet_ask_for_its_death_signal_when_the_daemon_is_killed_then_it_ends(
    daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fork and the request the kernel does not know that the child is to die with its parent."""
    slow = tmp_path / "bin" / "setpriv"
    slow.parent.mkdir()
    slow.write_text(
        '#!/bin/sh\n[ "$2" = KILL ] && [ "$4" != true ] && kill -STOP $$\nexec /usr/bin/setpriv "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    running = await daemon(config({"owl": upstream_command()}))
    async with connection(running) as client:
        await client.send(asking(chat("owl")))
        await until(lambda: [_state(process.pid) for process in running.processes] == ["T"])

        running.kill()

        await running.all_gone(GONE_WITHIN_S)


def _state(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[0] if stat.exists() else ""


async def test_given_a_start_script_with_a_helper_of_its_own_when_a_model_stops_then_the_helper_is_untouched(
    tmp_path: Path,
) -> None:
    """Its children come to us as orphans too, and nothing about them says that they are not the model's."""
    go = tmp_path / "go"
    helper = f"until [ -e {go} ]; do sleep 0.1; done; (setsid sleep 4343 &); exec sleep 4444"
    script = ("sh", "-c", f'setsid sh -c "{helper}" & exec "$@"', "sh")
    async with run_daemon(config({"owl": upstream_command()}), tmp_path, through=script) as running:
        await load(running, "owl")
        go.touch()

        def helpers() -> list[int]:
            return [each.pid for each in running.processes if each.command in ("sleep 4343", "sleep 4444")]

        await until(lambda: len(helpers()) == 2)
        before = helpers()

        async with running.client() as client:
            assert (await client.post("/api/models/unload")).status_code == 200

        assert helpers() == before
        await running.stop()
        assert helpers() == before
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await running.all_gone()
