"""The fast upstream and the load generators: in C, compiled on first use; without a compiler, in Python.

With the Python ones the absolute figures shrink, because the harness takes the larger part of the time;
the ratios of CPU per request stay usable.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from attrs import frozen

HERE = Path(__file__).parent
BUILD = HERE / ".build"
SOURCES = HERE / "native"

PROXY_CPU = 0
LOAD_CPU = 1 if (os.cpu_count() or 1) > 1 else 0


@frozen
class Load:
    """What a load generator saw: `count` answers or chunks; times in microseconds."""

    count: int
    seconds: float
    errors: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0


class Tools:
    """The three programs, ready to run; `native` says whether they are the C ones."""

    def __init__(self) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        self.native = compiler is not None
        if compiler is not None:
            for name in ("upstream", "httpload", "sseload"):
                _compile(compiler, name)

    def command(self, name: str, *arguments: object) -> list[str]:
        """The command line of one of `upstream`, `httpload`, `sseload`."""
        program = [str(BUILD / name)] if self.native else [sys.executable, str(HERE / "slow_tools.py"), name]
        return [*program, *map(str, arguments)]

    def upstream(self, port: object, *arguments: object) -> list[str]:
        """The upstream on the processor of the load; `port` may be a placeholder such as `${PORT}`."""
        return self.command("upstream", port, "--cpu", LOAD_CPU, *arguments)

    def requests(self, port: int, connections: int, seconds: float) -> Load:
        """Load with requests, one after the other on each connection."""
        return self._run("httpload", "requests", port, connections, seconds)

    def streams(self, port: int, streams: int, seconds: float, rate: float) -> Load:
        """Read streams at `rate` chunks a second each; 0 is as fast as they come."""
        return self._run("sseload", "chunks", port, streams, seconds, rate)

    def start_streams(self, port: int, streams: int, seconds: float, rate: float) -> subprocess.Popen[bytes]:
        """The same in the background, for measuring while they are open."""
        command = self.command("sseload", port, streams, seconds, rate)
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=pin_to_load_cpu)

    def _run(self, name: str, counted: str, *arguments: object) -> Load:
        ended = subprocess.run(
            self.command(name, *arguments),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=pin_to_load_cpu,
        )
        if ended.returncode != 0:
            raise RuntimeError(f"{name} {arguments} failed: {ended.stderr.strip()}")
        seen = json.loads(ended.stdout)
        return Load(count=seen.pop(counted), **seen)


def pin_to_load_cpu() -> None:
    os.sched_setaffinity(0, {LOAD_CPU})


def pin_to_proxy_cpu() -> None:
    os.sched_setaffinity(0, {PROXY_CPU})


def _compile(compiler: str, name: str) -> None:
    source, program = SOURCES / f"{name}.c", BUILD / name
    newest = max(source.stat().st_mtime, (SOURCES / "common.h").stat().st_mtime)
    if program.exists() and program.stat().st_mtime >= newest:
        return
    BUILD.mkdir(exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)
