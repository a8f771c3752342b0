"""How long somebody waits whose model is not loaded while others keep the loaded one busy without a pause.

Through a real daemon: three clients ask for one model, again and again, so that it is never idle; meanwhile a
fourth asks for another. The promise is that it is served within `maxWait`, plus one request, plus one swap.
"""

from __future__ import annotations

import json
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import client
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target, running
from bench.tools import Tools
from swapd.testing.ports import free_port, free_ports

MAX_WAIT_S = 2.0
HAMMERERS = 3
STREAM = {"stream": True, "n": 6, "rate": 10}
"""What each of them asks for: six chunks, ten a second."""

_PATH = "/v1/chat/completions"


def measure(swapd: Target, tools: Tools, scale: Scale, results: Results) -> None:
    """In ms: `fairness/wait`, `fairness/swap` and `fairness/request` as they were, and `fairness/bound`, the
    longest that the wait may have been with these.
    """
    with TemporaryDirectory(prefix="swapd-fairness-") as directory:
        target = _daemon(Path(directory), tools)
        with running([target]):
            for _ in range(max(2, scale.rounds)):
                _round(target, swapd, results)


def _round(target: Target, counted_for: Target, results: Results) -> None:
    _ask(target, "wanted")
    swap_s = _ask(target, "busy") + _ask(target, "wanted")  # one each way, with nobody in the way
    _ask(target, "busy")
    request_s = _ask(target, "busy", **STREAM)
    with _hammering(target):
        time.sleep(1)
        wait_s = _ask(target, "wanted")
    bound_s = MAX_WAIT_S + request_s + swap_s
    for name, seconds in ("wait", wait_s), ("request", request_s), ("swap", swap_s), ("bound", bound_s):
        results.add(f"fairness/{name}", "ms", counted_for, 1000 * seconds)


def _ask(target: Target, model: str, **options: object) -> float:
    """Ask once; how long the whole answer took, in seconds."""
    asked_at = time.monotonic()
    answer = client.post(target.port, _PATH, {"model": model, "messages": [], **options})
    if answer.status != 200:
        raise RuntimeError(f"{model}: status {answer.status}: {answer.body[:300]!r}")
    return time.monotonic() - asked_at


@contextmanager
def _hammering(target: Target) -> Iterator[None]:
    """Keep the model `busy` busy during the block."""
    over = threading.Event()

    def hammer(delay_s: float) -> None:
        time.sleep(delay_s)
        while not over.is_set():
            _ask(target, "busy", **STREAM)

    gap_s = STREAM["n"] / STREAM["rate"] / HAMMERERS
    threads = [threading.Thread(target=hammer, args=(number * gap_s,)) for number in range(HAMMERERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _daemon(directory: Path, tools: Tools) -> Target:
    command = shlex.join(tools.upstream("${PORT}", "--ready-ms", 100)).replace("'${PORT}'", "${PORT}")
    config = {
        "startPort": free_ports(2),
        "models": {"busy": {"cmd": command}, "wanted": {"cmd": command}},
        "routing": {"scheduler": {"settings": {"fifo": {"maxWait": MAX_WAIT_S}}}},
    }
    file, port = directory / "config.yaml", free_port()
    file.write_text(json.dumps(config))  # JSON is YAML
    serve = [sys.executable, "-m", "swapd", "serve", "--config", str(file)]
    listen = ["--listen", f"127.0.0.1:{port}", "--state-dir", str(directory / "state")]
    return Target("fairness", [*serve, *listen], port, swaps=True)
