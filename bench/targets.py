"""What is measured: each a program on a port of its own that answers the same requests."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import procfs
from bench.tools import Tools, pin_to_load_cpu, pin_to_proxy_cpu
from swapd.testing.ports import free_port, free_ports

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 40.0

LOAD_TIMES_MS = (20, 200, 700, 1500)
"""How long the models of the readiness measurement load."""

EDITED_MODEL = "edited"
"""The model whose requests are changed on their way."""

UNTIL_READY = ("refuse", "503")
"""What they do meanwhile."""


class Target:
    """A program under test. Mutable state: its process while it runs.

    `swaps` says whether it starts models itself; `proxied` whether it is a proxy at all.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        swaps: bool = False,
        proxied: bool = True,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.port = port
        self.swaps = swaps
        self.proxied = proxied
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self.spawn()
        deadline = time.monotonic() + _START_LIMIT_S
        while not accepts(self.port):
            if self._ended or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.name} does not listen on {self.port}: {shlex.join(self.command)}")
            time.sleep(0.005)

    def spawn(self) -> None:
        """Start it and return at once."""
        self._process = subprocess.Popen(
            self.command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("BENCH_VERBOSE") else subprocess.DEVNULL,
            preexec_fn=pin_to_proxy_cpu if self.proxied else pin_to_load_cpu,
        )

    def stop(self) -> float:
        """SIGTERM, and wait for the end; how long that took, in seconds."""
        assert self._process is not None
        start = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        return time.monotonic() - start

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def settle(self, patience_s: float = 1.0) -> None:
        """Wait until it does nothing any more; start it anew if that does not come.

        Stock hypercorn does not tell the app that the client has left, so the plain proxy goes on reading
        streams that nobody wants, at full speed.
        """
        for _ in range(int(patience_s * 10)):
            before = procfs.cpu_seconds(self.pids)
            time.sleep(0.1)
            if procfs.cpu_seconds(self.pids) - before <= 0.02:
                return
        self.kill()
        self.start()

    @property
    def pids(self) -> list[int]:
        """The processes that are the proxy, upstreams that it started left out."""
        assert self._process is not None
        return [self._process.pid]

    @property
    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


class Nginx(Target):
    """nginx with one worker and keep-alive to the upstream; master and worker count."""

    def __init__(self, program: str, port: int, upstream_port: int, directory: Path) -> None:
        config = directory / "nginx.conf"
        config.write_text(_NGINX_CONFIG.format(port=port, upstream=upstream_port, directory=directory))
        command = [program, "-c", str(config), "-e", str(directory / "nginx.log")]
        super().__init__("nginx", command, port)

    @property
    def pids(self) -> list[int]:
        return procfs.descendants(super().pids[0])


_NGINX_CONFIG = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 100000000;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_request_buffering off;
    }}
  }}
}}
"""


def make_targets(tools: Tools, directory: Path, peers: Sequence[str]) -> list[Target]:
    """Everything that can be measured; `peers` are `name=command with {config} {listen}`, and {state} for a
    directory of its own."""
    upstream_port = free_port()
    direct = Target("direct", tools.upstream(upstream_port), upstream_port, proxied=False)
    plain_port = free_port()
    plain = Target(
        "plain",
        [
            *(sys.executable, "-m", "bench.plain_proxy", "--listen", f"127.0.0.1:{plain_port}"),
            *("--upstream", f"http://127.0.0.1:{upstream_port}"),
        ],
        plain_port,
    )
    serve = "-m swapd serve --config {config} --listen {listen} --state-dir {state}"
    swapd = f"swapd={shlex.quote(sys.executable)} {serve}"
    targets = [direct, plain, *(_swapping(tools, directory, peer) for peer in (swapd, *peers))]
    if nginx := shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        targets.append(Nginx(nginx, free_port(), upstream_port, directory))
    return targets


def _swapping(tools: Tools, directory: Path, peer: str) -> Target:
    """A program that reads our configuration language and starts the models itself."""
    name, separator, template = peer.partition("=")
    if not separator or "{config}" not in template or "{listen}" not in template:
        raise ValueError(f"--peer {peer!r}: write it as name=command with {{config}} and {{listen}}")
    config, port = directory / f"{name}.yaml", free_port()
    config.write_text(_swap_config(tools, free_ports(40)))
    values = {"config": config, "listen": f"127.0.0.1:{port}", "state": directory / f"{name}-state"}
    command = shlex.split(template)
    for placeholder, value in values.items():
        command = [word.replace(f"{{{placeholder}}}", str(value)) for word in command]
    return Target(name, command, port, swaps=True)


def _swap_config(tools: Tools, start_port: int) -> str:
    models = {"m1": tools.upstream("${PORT}")}
    for load_ms in LOAD_TIMES_MS:
        for mode in UNTIL_READY:
            arguments = ("--ready-ms", load_ms, "--until-ready", mode)
            models[model_name(load_ms, mode)] = tools.upstream("${PORT}", *arguments)
    models[EDITED_MODEL] = models["m1"]
    lines = [f"startPort: {start_port}", "models:"]
    for name, command in models.items():
        quoted = shlex.join(command).replace("'${PORT}'", "${PORT}")
        lines += [f"  {name}:", f"    cmd: {quoted}", "    concurrencyLimit: 2000"]
    lines += [
        "    useModelName: real",
        "    filters: {stripParams: temperature, setParams: {top_p: 0.5, chat_template_kwargs: {x: 1}}}",
    ]
    return "\n".join(lines) + "\n"


def _environment() -> dict[str, str]:
    """Ours, but let Python keep its bytecode: pip compiles what it installs, and a source tree is compiled by
    its first run. Otherwise a start would be mostly that.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def warm_up(targets: Sequence[Target]) -> None:
    """Start and stop each once, for the bytecode and for the files to be in memory."""
    for target in targets:
        with running([target]):
            pass


@contextmanager
def running(targets: Sequence[Target]) -> Iterator[None]:
    """Have these targets started anew, and stop them after it whatever happens."""
    started: list[Target] = []
    try:
        for target in targets:
            target.start()
            started.append(target)
        yield
    finally:
        for target in started:
            target.stop()


def model_name(load_ms: int, mode: str) -> str:
    """The model of the readiness measurement that loads so long and does that meanwhile."""
    return f"load-{load_ms}-{mode}"


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
