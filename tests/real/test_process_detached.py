"""Commands that start their server in the background and exit, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapd.nursery.reports import EndingKind, Gone, Ready
from swapd.testing.ports import free_port
from tests.real.live_instance import Stage, is_alive, python, shell

pytestmark = pytest.mark.real

SERVER = (
    "import os, socket, sys, time\n"
    "up, tell = os.pipe()\n"
    "if os.fork():\n"
    "    os.read(up, 1); sys.exit(0)\n"
    "os.setsid()\n"
    "listener = socket.create_server(('127.0.0.1', {port}))\n"
    "print('server', os.getpid())\n"
    "os.write(tell, b'!')\n"
    "while True:\n"
    "    connection, _ = listener.accept()\n"
    "    connection.recv(65536)\n"
    "    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
    "    connection.close()\n"
    "    print('answered')\n"
)


async def test_given_a_detached_command_when_it_exits_then_its_server_serves_on_until_the_stop_command_runs(
    stage: Stage, tmp_path: Path
) -> None:
    ran, port = tmp_path / "ran", free_port()
    async with stage.instance(
        python(SERVER.format(port=port)),
        stop=shell(f"echo stopping; touch {ran}"),
        port=port,
        check=True,
        detached=True,
    ) as live:
        server = int(await live.said("server"))
        await live.reported(Ready)
        await stage.has_ended(live.pid)
        serving = is_alive(server) and Gone not in live.kinds
        ending = await live.stop()
        await live.said("stopping")

    assert serving
    assert ran.exists()
    assert ending.kind is EndingKind.STOPPED
    assert not is_alive(server)


async def test_given_a_detached_command_that_fails_then_that_is_the_end(stage: Stage) -> None:
    async with stage.instance(shell("exit 3"), stop=["true"], detached=True, check=True) as live:
        ending = await live.ended()

    assert (ending.kind, ending.code) == (EndingKind.EXITED, 3)
