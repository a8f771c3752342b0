"""How many instructions swapd executes in user space for a request and for a chunk of a stream.

valgrind's callgrind counts them, and counts the same twice to within a percent, whatever else the machine is
doing: this is the figure to compare two versions with where CPU time is too noisy. Work that the kernel does
is not in it. Everything is on that is on by default: access log, activity, captures, metrics.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench import client
from bench.results import Results
from bench.targets import Target, running
from bench.tools import Tools

CONNECTIONS = 8
"""Clients that ask at the same time, each again when all have their answers."""
WARM_UP_ROUNDS, ROUNDS = 12, 12
"""So few that the activity log does not begin to pack captures, which it does at a pace of its own: callgrind
makes everything else fifty times slower."""
STREAMS, STREAM_RATE, STREAM_S = 8, 25, 8.0
"""Paced streams as few and slow as callgrind's pace demands, so that no two chunks meet."""

_CONTROL_LIMIT_S = 60.0
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
_BODY = {"model": "m1", "messages": [{"role": "user", "content": "Hello there, how are you today? " * 6}]}


def measure(target: Target, tools: Tools, results: Results, directory: Path) -> None:
    """`instructions/request` and `instructions/chunk` of swapd; without valgrind nothing, and a word why."""
    valgrind, control = shutil.which("valgrind"), shutil.which("callgrind_control")
    if valgrind is None or control is None:
        print("bench: instructions are not counted: valgrind is not installed", file=sys.stderr)
        return
    counted = _Counted(target, valgrind, control, directory)
    with running([counted]):
        client.wait_for_answer(counted.port, "/health")
        with _Clients(counted.port) as clients:
            clients.ask(WARM_UP_ROUNDS)
            counted.begin()
            clients.ask(ROUNDS)
            a_request = counted.end() / (ROUNDS * CONNECTIONS)
        results.add("instructions/request", "instructions", target, a_request)
        tools.streams(counted.port, STREAMS, STREAM_S / 4, STREAM_RATE)
        counted.begin()
        load = tools.streams(counted.port, STREAMS, STREAM_S, STREAM_RATE)
        beside_requests = counted.end() - STREAMS * a_request
        results.add("instructions/chunk", "instructions", target, beside_requests / max(1, load.count))


class _Counted(Target):
    """A target that runs in callgrind, which counts between `begin` and `end` only."""

    def __init__(self, target: Target, valgrind: str, control: str, directory: Path) -> None:
        self._control = control
        self._dumps = directory / "callgrind.out"
        options = ("--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self._dumps}")
        super().__init__(target.name, [valgrind, "-q", *options, *target.command], target.port, swaps=True)

    def begin(self) -> None:
        self._tell("--instr=on")
        self._tell("--zero")

    def end(self) -> int:
        """Instructions since `begin`, of all threads."""
        before = set(self._dumps.parent.glob(f"{self._dumps.name}.*"))
        self._tell("--dump")
        self._tell("--instr=off")
        deadline = time.monotonic() + _CONTROL_LIMIT_S
        while time.monotonic() < deadline:
            for dump in set(self._dumps.parent.glob(f"{self._dumps.name}.*")) - before:
                if (total := _TOTALS.search(dump.read_text())) is not None:
                    return int(total[1])
            time.sleep(0.1)
        raise RuntimeError("callgrind has written no dump")

    def _tell(self, what: str) -> None:
        subprocess.run(
            [self._control, what, str(self.pids[0])],
            check=True,
            capture_output=True,
            timeout=_CONTROL_LIMIT_S,
        )


class _Clients:
    """Connections that ask for one chat completion after the other, in step."""

    def __init__(self, port: int) -> None:
        self._sockets = [
            socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(CONNECTIONS)
        ]
        self._request = client.post_request("/v1/chat/completions", _BODY)

    def __enter__(self) -> _Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def ask(self, rounds: int) -> None:
        for _ in range(rounds):
            for sock in self._sockets:
                sock.sendall(self._request)
            for sock in self._sockets:
                if (status := client.read_answer(sock).status) != 200:
                    raise RuntimeError(f"a request was answered with {status}")
