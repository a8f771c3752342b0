"""What a real child finds when it starts, and what becomes of a start that fails."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from swapd.nursery import exit_watch
from swapd.nursery.reports import EndingKind, Gone, Ready, Spawned
from swapd.nursery.spawn import OOM_SCORE
from tests.real.live_instance import Stage, marked_pids, python, shell

pytestmark = pytest.mark.real


async def test_s24_given_env_items_then_the_child_has_them_and_the_daemons_path(stage: Stage) -> None:
    async with stage.instance(shell('echo "X=$X P=$PATH"; exec sleep 1000'), env=["X=1", "X=2"]) as live:
        assert await live.said("X=") == f"2 P={os.environ['PATH']}"


async def test_the_child_leads_a_session_and_has_nothing_of_ours_but_its_pipes(stage: Stage) -> None:
    with socket.socket() as listener:
        os.set_inheritable(listener.fileno(), True)
        command = python(
            "import os\n"
            "links = [os.readlink(f'/proc/self/fd/{fd}').split(':')[0] for fd in (0, 1, 2)]\n"
            "open_fds = [fd for fd in range(3, 1000) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
            "print('fds', *links, open_fds)\n"
            "print('session', os.getsid(0) == os.getpgid(0) == os.getpid())\n"
        )
        async with stage.instance(command) as live:
            await live.ended()

    assert b"fds /dev/null pipe pipe []\n" in live.output
    assert b"session True\n" in live.output


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="needs Linux")
async def test_given_a_model_then_it_goes_first_when_memory_runs_out(stage: Stage) -> None:
    async with stage.instance(shell("echo up; exec sleep 1000")) as live:
        await live.said("up")
        assert oom_score(live.pid) == OOM_SCORE


def oom_score(pid: int) -> str:
    return Path(f"/proc/{pid}/oom_score_adj").read_text().strip()


async def test_given_output_and_an_exit_before_readiness_then_the_end_tells_both(stage: Stage) -> None:
    command = shell("printf 'no such model\\n\\033[0m' >&2; exit 3")
    async with stage.instance(command, check=True) as live:
        ending = await live.ended()

    assert live.kinds == [Spawned, Gone]
    assert ending.kind is EndingKind.EXITED
    assert ending.code == 3
    assert ending.message == ("upstream command exited prematurely: exit status 3\nno such model\n\\x1b[0m")


@pytest.mark.parametrize("command", ["no-such-program", "/no/such/program"])
async def test_given_no_such_program_then_the_error_of_the_operating_system(
    stage: Stage, command: str
) -> None:
    async with stage.instance([command]) as live:
        ending = await live.ended()

    assert live.kinds == [Gone]
    assert ending.kind is EndingKind.SPAWN_FAILED
    assert f"cannot run {command}: No such file or directory" in ending.message


async def test_given_a_listener_on_its_own_port_then_the_start_fails_and_names_it(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        async with stage.instance(["sleep", "1000"], port=port) as live:
            ending = await live.ended()

    assert live.kinds == [Gone]
    assert ending.kind is EndingKind.SPAWN_FAILED
    assert ending.message.startswith(f"port in use by pid {os.getpid()} (")


async def test_given_no_descriptor_left_then_the_start_fails_and_nothing_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe", too_many)
    async with stage.instance(["sleep", "1000"]) as live:
        ending = await live.ended()

    assert ending.message == "cannot run sleep: Too many open files"


async def test_given_a_server_when_it_answers_then_it_is_ready_and_can_be_started_again(stage: Stage) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = python(
        "import http.server\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Handler).serve_forever()\n"
    )
    for _ in range(2):
        async with stage.instance(server, port=port, check=True) as live:
            await live.reported(Ready)
            await live.stop()

        assert live.kinds == [Spawned, Ready, Gone]


async def test_given_no_pidfds_then_exits_are_noticed_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exit_watch, "_open_pidfd", lambda pid: None)
    async with stage.instance(shell("exit 5")) as live:
        assert (await live.ended()).code == 5
    async with stage.instance(["sleep", "1000"]) as live:
        await live.reported(Spawned)
        assert (await live.stop()).signal == 15


async def test_given_a_status_that_somebody_else_collected_then_the_end_is_noticed(stage: Stage) -> None:
    async with stage.instance(["sleep", "1000"]) as live:
        await live.reported(Spawned)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects it
        try:
            os.kill(live.pid, signal.SIGKILL)
            ending = await live.ended()
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    assert ending.kind is EndingKind.EXITED
    assert (ending.code, ending.signal) == (None, None)
    assert marked_pids(live.uuid) == []
