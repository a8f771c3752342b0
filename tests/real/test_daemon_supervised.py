"""Under a service manager: systemd's notification socket and passed sockets, s6's descriptor, a pid file."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from swapd.config import Sources, load
from swapd.daemon import DaemonSettings, main
from swapd.nursery.manager import Manager
from swapd.supervision.watchdog import ActorWatch
from swapd.testing.daemon import run_daemon, run_swapd, upstream_command
from swapd.testing.fixtures import StartDaemon
from swapd.testing.ports import free_ports
from tests.real.daemons import PATIENCE_S, open_stream, until
from tests.real.daemons import load as ask
from tests.setups import config
from tests.unit.supervision.fake_manager import FakeManager, fake_manager

pytestmark = pytest.mark.real


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[FakeManager]:
    """A service manager that listens on NOTIFY_SOCKET."""
    with fake_manager(tmp_path) as listening:
        yield listening


class Heard:
    """What it has heard and the test has not dealt with yet, in order; each message by its names."""

    def __init__(self, manager: FakeManager) -> None:
        self._manager = manager
        self.messages: list[dict[str, str]] = []

    def update(self) -> list[dict[str, str]]:
        for lines in self._manager.heard():
            self.messages.append(dict(line.split("=", 1) for line in lines))
        return self.messages

    async def said(self, *names: str, **values: str) -> dict[str, str]:
        """Wait for a message with these names and values; forget everything up to it."""
        found: list[int] = []

        def there() -> bool:
            found[:] = [
                index
                for index, message in enumerate(self.update())
                if all(name in message for name in names) and values.items() <= message.items()
            ]
            return bool(found)

        await until(there)
        message = self.messages[found[0]]
        del self.messages[: found[0] + 1]
        return message


async def test_given_a_notify_socket_then_it_hears_the_right_words_in_the_right_order(
    tmp_path: Path, manager: FakeManager
) -> None:
    heard = Heard(manager)
    flags = ("--hold", "--hold-after", "1")
    setup = config({"owl": upstream_command(*flags), "wren": upstream_command()})
    async with run_daemon(setup, tmp_path, environment=manager.environ) as running:
        await until(lambda: bool(heard.update()))
        # Start: nothing is said before READY.
        assert heard.messages == [{"READY": "1", "STATUS": "0 of 2 models running"}]
        await heard.said("READY")

        # A swap: every step shows in the status.
        await ask(running, "wren")
        await heard.said(STATUS="1 of 2 models running: wren (starting)")
        await heard.said(STATUS="1 of 2 models running: wren")

        # A reload, and one that is rejected: always READY in the end.
        text = (tmp_path / "config.yaml").read_text()
        for content, outcome in (
            (f"{text}\n# same", ""),
            ("models: 5", "the new configuration was rejected"),
        ):
            (tmp_path / "config.yaml").write_text(content)
            before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            running.signal(signal.SIGHUP)
            begun = await heard.said("RELOADING", "MONOTONIC_USEC")
            assert begun["RELOADING"] == "1"
            ended = await heard.said("READY")
            now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert before_us <= int(begun["MONOTONIC_USEC"]) <= now_us
            assert outcome in ended["STATUS"]
            assert bool(outcome) == ("rejected" in ended["STATUS"])

        # A stop that has to wait: patience is asked for again and again.
        async with open_stream(running, "owl") as reader, running.upstream("owl") as owl:
            heard.update()
            heard.messages.clear()
            running.signal(signal.SIGTERM)
            stopping = await heard.said("STOPPING")
            assert stopping["STOPPING"] == "1"
            assert stopping["STATUS"].startswith("stopping; 1 of 2 models running: owl")
            for _ in range(2):
                assert int((await heard.said("EXTEND_TIMEOUT_USEC"))["EXTEND_TIMEOUT_USEC"]) > 5_000_000
            await running.printed("waiting for 1 request to end")
            await owl.release()
            await reader.rest()
        assert await running.exited() == 0
        heard.update()
        assert all("READY" not in message for message in heard.messages)


async def test_given_an_abstract_notify_socket_then_it_is_told_too(tmp_path: Path) -> None:
    with fake_manager(tmp_path, abstract=True) as manager:
        async with run_daemon(
            config({"owl": upstream_command()}), tmp_path, environment=manager.environ
        ) as running:
            await Heard(manager).said("READY")
            await running.stop()


async def test_given_a_watchdog_when_the_daemon_lives_then_it_is_fed(
    tmp_path: Path, manager: FakeManager
) -> None:
    heard = Heard(manager)
    wanted = {**manager.environ, "WATCHDOG_USEC": "600000"}
    async with run_daemon(config({"owl": upstream_command()}), tmp_path, environment=wanted):
        await heard.said("READY")
        for _ in range(4):
            await heard.said(WATCHDOG="1")


@pytest.fixture
def own_signals() -> Iterator[None]:
    """For a daemon in this process: it leaves stop signals ignored, and what we start would inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
async def test_given_an_actor_that_is_stuck_then_the_watchdog_starves_and_readiness_is_denied(
    tmp_path: Path, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop turns, the server answers, and yet nothing that needs a decision would happen."""

    async def stuck(self: Manager, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    monkeypatch.setattr(Manager, "run", stuck)
    monkeypatch.setattr("swapd.daemon.ActorWatch", partial(ActorWatch, limit_s=0.2))
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environ["NOTIFY_SOCKET"])
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    file = tmp_path / "config.yaml"
    file.write_text(f"startPort: {free_ports(20)}\n{config({'owl': upstream_command()})}")
    sources = Sources((file,), None)
    listener = socket.create_server(("127.0.0.1", 0))
    heard = Heard(manager)
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            settings = DaemonSettings(
                sources=sources, loaded=load(sources, environ=os.environ), listeners=[listener]
            )
            nursery.start_soon(main, settings)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                await heard.said("READY")
                while (response := await client.get("/ready")).status_code == 200:
                    await trio.lowlevel.checkpoint()
                assert response.status_code == 503
                assert response.json() == {"status": "stuck", "waiting": []}
                assert response.headers["retry-after"] == "1"
                assert (await client.get("/health")).text == "OK"
            # It was fed once, before anything could be known; five turns later still only once.
            await trio.sleep(0.25)
            assert [message for message in heard.update() if "WATCHDOG" in message] == [{"WATCHDOG": "1"}]
            nursery.cancel_scope.cancel()


async def test_given_no_service_manager_then_models_hear_of_none_either(daemon: StartDaemon) -> None:
    running = await daemon(config({"owl": upstream_command()}))
    await ask(running, "owl")
    [process] = running.processes

    environment = Path(f"/proc/{process.pid}/environ").read_bytes()  # noqa: ASYNC240

    assert b"NOTIFY_SOCKET" not in environment


async def test_given_a_service_manager_then_models_cannot_speak_in_our_name(
    tmp_path: Path, manager: FakeManager
) -> None:
    wanted = {**manager.environ, "WATCHDOG_USEC": "600000000"}
    async with run_daemon(config({"owl": upstream_command()}), tmp_path, environment=wanted) as running:
        await ask(running, "owl")
        guardian = running.guardian
        assert guardian is not None
        for pid in (guardian.pid, running.processes[0].pid):
            environment = Path(f"/proc/{pid}/environ").read_bytes()  # noqa: ASYNC240
            assert b"NOTIFY_SOCKET" not in environment
            assert b"WATCHDOG_USEC" not in environment


async def test_given_a_ready_descriptor_then_one_newline_says_when_requests_are_served(
    tmp_path: Path,
) -> None:
    reading, writing = os.pipe()
    try:
        async with run_daemon(
            config({"owl": upstream_command()}), tmp_path, "--ready-fd", str(writing), pass_fds=[writing]
        ) as running:
            os.close(writing)
            async with trio.lowlevel.FdStream(os.dup(reading)) as pipe:
                with trio.fail_after(PATIENCE_S):
                    said = b"".join([part async for part in pipe])
            assert said == b"\n"
            await ask(running, "owl")  # and the descriptor is closed although the daemon and a model run
    finally:
        os.close(reading)


async def test_given_a_ready_descriptor_that_was_not_passed_then_it_exits_2(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(config({"owl": upstream_command()}))
    done = await trio.run_process(
        [sys.executable, "-m", "swapd", "--config", str(tmp_path / "c.yaml"), "--ready-fd", "77"],
        capture_stdout=True, capture_stderr=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr == b"swapd: wrong usage: --ready-fd 77: no such descriptor was passed to swapd\n"


PASS_AS_SYSTEMD_DOES = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="swapd.socket")
os.execv(sys.argv[2], sys.argv[2:])
"""


async def test_given_a_passed_socket_then_a_client_that_was_there_first_is_served(tmp_path: Path) -> None:
    """As systemd does it: the socket is opened before the daemon is started, which has it as descriptor 3."""
    config_file = tmp_path / "config.yaml"
    config_file.write_text(f"startPort: {free_ports(20)}\n{config({'owl': upstream_command()})}")
    with socket.create_server(("127.0.0.1", 0)) as opened, socket.socket() as early:
        address = opened.getsockname()
        early.connect(address)
        early.sendall(b"GET /health HTTP/1.1\r\nHost: swapd\r\nConnection: close\r\n\r\n")
        async with run_swapd(
            tmp_path, "serve", "--config", str(config_file),
            pass_fds=[opened.fileno()],
            through=(sys.executable, "-c", PASS_AS_SYSTEMD_DOES, str(opened.fileno())),
        ) as running:  # fmt: skip
            assert running.url == f"http://127.0.0.1:{address[1]}"
            early.settimeout(PATIENCE_S)
            assert early.recv(65536).startswith(b"HTTP/1.1 200")
            await ask(running, "owl")
            environment = Path(f"/proc/{running.processes[0].pid}/environ").read_bytes()  # noqa: ASYNC240
            assert b"LISTEN_" not in environment


async def test_given_a_pid_file_then_it_holds_the_pid_while_the_daemon_runs(tmp_path: Path) -> None:
    file = tmp_path / "swapd.pid"
    async with run_daemon(config({"owl": upstream_command()}), tmp_path, "--pid-file", str(file)) as running:
        assert file.read_text() == f"{running.pid}\n"
        await running.stop()
    assert not file.exists()
