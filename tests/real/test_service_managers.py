"""swapd under s6, runit and supervisord: what `swapd unit` prints, and packaging/ has, does its work."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from attrs import frozen

from swapd.testing.ports import free_port, free_ports
from swapd.testing.processes import MARKER, MarkedProcess, kill_processes, marked_processes
from tests.real.daemons import until

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SWAPD = str(Path(sys.executable).parent / "swapd")
CONFIG = """\
startPort: {ports}
models:
  owl:
    cmd: {python} -m swapd.testing.upstream --port ${{PORT}} --fork setsid
"""


@frozen
class Manager:
    """A service manager that runs one service. `program` runs it for the service directory; the words of
    `commands` begin what is asked of it, with the directory behind."""

    name: str
    needs: str
    program: tuple[str, ...]
    commands: Mapping[str, tuple[str, ...]]
    knows_readiness: bool = True

    def set_up(self, service: Path, config: Path, url: str) -> None:
        """Write what it wants to have for this swapd, to run as the user who runs the test."""
        me = pwd.getpwuid(os.getuid()).pw_name
        listen = url.removeprefix("http://")
        words = ("unit", self.name, "--user", me, "--config", str(config), "--listen", listen)
        subprocess.run((SWAPD, *words, "--out", str(service)), check=True, capture_output=True, timeout=60)


@frozen
class Supervisord(Manager):
    """What is in packaging/ is for it, with the places of this test."""

    def set_up(self, service: Path, config: Path, url: str) -> None:
        service.mkdir()
        command = f"{SWAPD} serve --config {config} --listen {url.removeprefix('http://')}"
        text = (ROOT / "packaging" / "supervisord.conf").read_text()
        text = re.sub("^command=.*", f"command={command}", text, flags=re.MULTILINE)
        text = re.sub("^user=.*\n", "", text, flags=re.MULTILINE)
        text = re.sub("^stdout_logfile=.*", f"stdout_logfile={service}/swapd.log", text, flags=re.MULTILINE)
        socket = f"{service}/control"
        (service / "supervisord.conf").write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={service}/log\npidfile={service}/pid\n"
            f"[unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n" + text
        )


_CONTROL = ("supervisorctl", "-c", "{service}/supervisord.conf")

MANAGERS = (
    Manager(
        "s6",
        "s6-supervise",
        ("s6-supervise", "{service}"),
        {
            "start and wait": ("s6-svc", "-wU", "-T", "60000", "-u", "{service}"),
            "stop and wait": ("s6-svc", "-wD", "-T", "60000", "-d", "{service}"),
            "reload": ("s6-svc", "-h", "{service}"),
            "state": ("s6-svstat", "{service}"),
        },
    ),
    Manager(
        "runit",
        "runsv",
        ("runsv", "{service}"),
        {
            "start and wait": ("sv", "-w", "60", "start", "{service}"),
            "stop and wait": ("sv", "-w", "60", "stop", "{service}"),
            "reload": ("sv", "hup", "{service}"),
            "state": ("sv", "status", "{service}"),
        },
    ),
    Supervisord(
        "supervisord",
        "supervisord",
        ("supervisord", "-c", "{service}/supervisord.conf"),
        {
            "start and wait": (*_CONTROL, "start", "swapd"),
            "stop and wait": (*_CONTROL, "stop", "swapd"),
            "reload": (*_CONTROL, "signal", "HUP", "swapd"),
            "state": (*_CONTROL, "status", "swapd"),
        },
        knows_readiness=False,
    ),
)


class Service:
    """swapd as the service of a running manager."""

    def __init__(self, manager: Manager, directory: Path, config: Path, url: str, marker: str) -> None:
        self.config = config
        self.url = url
        self._manager = manager
        self._directory = directory
        self._marker = marker

    def ask(self, what: str) -> str:
        """Have the manager do or say something; waits for it, at most 90 s."""
        words = [word.format(service=self._directory) for word in self._manager.commands[what]]
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        done = subprocess.run(words, capture_output=True, text=True, timeout=90, env=environment, check=False)
        return done.stdout + done.stderr

    @property
    def daemons(self) -> list[MarkedProcess]:
        """The swapd that runs, in a list; none between two."""
        return [each for each in self._ours() if f"serve --config {self.config}" in each.command]

    @property
    def upstreams(self) -> list[MarkedProcess]:
        return [each for each in self._ours() if "swapd.testing.upstream" in each.command]

    @property
    def all_of_swapd(self) -> list[MarkedProcess]:
        """Everything but the manager, which carries the marker too."""
        return [each for each in self._ours() if self._manager.program[0] not in each.command]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def chat(self) -> None:
        body = {"model": "owl", "messages": []}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text

    def _ours(self) -> Sequence[MarkedProcess]:
        return marked_processes(self._marker)


def _spawn(manager: Manager, service: Path, marker: str) -> subprocess.Popen[bytes]:
    """Start the manager; its output, and that of what it runs, goes into a file beside the service."""
    directory = service.parent
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(
            [word.format(service=service) for word in manager.program],
            cwd=directory,
            env={
                **os.environ,
                MARKER: marker,
                "XDG_STATE_HOME": str(directory),
                "XDG_RUNTIME_DIR": str(directory),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@asynccontextmanager
async def managed(manager: Manager, directory: Path, **places: str) -> AsyncIterator[Service]:
    """The manager with its service, started; at the end the manager's whole progeny is gone."""
    if shutil.which(manager.needs) is None:
        pytest.skip(f"needs {manager.needs}")
    config = directory / "config.yaml"
    config.write_text(places.get("config") or CONFIG.format(ports=free_ports(4), python=sys.executable))
    url = f"http://127.0.0.1:{free_port()}"
    service = directory / "service"
    manager.set_up(service, config, url)
    marker = uuid4().hex
    process = _spawn(manager, service, marker)
    running = Service(manager, service, config, url, marker)
    try:
        yield running
        running.ask("stop and wait")
        await until(lambda: not running.all_of_swapd)
    except BaseException as error:
        error.add_note(f"{running.ask('state')}\n{(directory / 'output').read_text()}")
        raise
    finally:
        process.terminate()
        kill_processes(running.all_of_swapd)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kill_processes(marked_processes(marker))


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
async def test_given_a_service_when_it_is_stopped_and_started_then_it_is_gone_and_there(
    manager: Manager, tmp_path: Path
) -> None:
    async with managed(manager, tmp_path) as service:
        # Given a service that is up, with a model that has put a process into a session of its own
        await until(service.is_ready)
        service.chat()
        assert len(service.upstreams) == 2
        # When it is stopped, then nothing of it is left
        service.ask("stop and wait")
        await until(lambda: not service.all_of_swapd)
        # When it is started again, then it serves; a manager that can wait for that has done so
        service.ask("start and wait")
        if manager.knows_readiness:
            assert service.is_ready()
        await until(service.is_ready)
        service.chat()


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
async def test_given_a_service_when_it_is_killed_then_another_serves_and_nothing_of_the_first_is_left(
    manager: Manager, tmp_path: Path
) -> None:
    async with managed(manager, tmp_path) as service:
        await until(service.is_ready)
        service.chat()
        [first] = service.daemons
        models = {process.pid for process in service.upstreams}
        # When swapd is killed, and nothing else
        os.kill(first.pid, signal.SIGKILL)
        # Then another takes its place
        await until(
            lambda: service.is_ready() and {process.pid for process in service.daemons} != {first.pid}
        )
        # And what the first had started is gone
        await until(lambda: not models & {process.pid for process in service.upstreams})
        service.chat()


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
async def test_given_a_service_when_its_manager_is_told_to_reload_it_then_it_takes_the_new_configuration(
    manager: Manager, tmp_path: Path
) -> None:
    async with managed(manager, tmp_path) as service:
        await until(service.is_ready)
        before = service.daemons
        text = service.config.read_text()
        service.config.write_text(text.replace("owl", "wren"))
        service.ask("reload")
        await until(lambda: "wren" in httpx.get(f"{service.url}/v1/models", trust_env=False).text)
        assert service.daemons == before


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
async def test_given_a_configuration_with_an_error_then_the_service_stays_down_until_it_is_mended(
    manager: Manager, tmp_path: Path
) -> None:
    async with managed(manager, tmp_path, config="models: 7\n") as service:
        # Given that swapd ends with 78, then the manager says so instead of trying for ever
        await until(lambda: re.search(r"^down(?!.*want up)|EXITED", service.ask("state")) is not None)
        await until(lambda: not service.daemons)
        output = "".join(
            file.read_text()
            for file in (tmp_path / "output", tmp_path / "service" / "swapd.log")
            if file.exists()
        )
        assert output.count("cannot load the configuration") == 1
        # When it is mended and started
        service.config.write_text(CONFIG.format(ports=free_ports(4), python=sys.executable))
        service.ask("start and wait")
        # Then it serves
        await until(service.is_ready)
