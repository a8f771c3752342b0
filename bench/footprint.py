"""What a proxy costs while nothing happens, how soon it is there after its exec, how soon gone."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import client, procfs
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target, accepts


def measure_idle(targets: Sequence[Target], scale: Scale, results: Results) -> None:
    """`idle bytes`, `cpu_ms`, `wakeups`: all targets freshly started, side by side, over the same seconds."""
    for target in targets:
        client.wait_for_answer(target.port, "/health")
    time.sleep(1.0)  # what belongs to the start is over
    before = [(procfs.cpu_seconds(t.pids), procfs.voluntary_switches(t.pids)) for t in targets]
    time.sleep(scale.idle_s)
    for target, (cpu_s, switches) in zip(targets, before, strict=True):
        results.add("idle", "cpu_ms", target, 1000 * (procfs.cpu_seconds(target.pids) - cpu_s))
        results.add("idle", "wakeups", target, procfs.voluntary_switches(target.pids) - switches)
        results.add("idle", "bytes", target, procfs.resident_bytes(target.pids))


def measure_start(targets: Sequence[Target], scale: Scale, results: Results) -> None:
    """`start accept_ms` and `answer_ms` after exec, and `cpu_ms` until the answer; `stop ms` after SIGTERM,
    with a model running. Targets take turns.
    """
    for _ in range(scale.repeats):
        for target in targets:
            _measure_start(target, results)


def _measure_start(target: Target, results: Results) -> None:
    start = time.monotonic()
    target.spawn()
    while not accepts(target.port):
        time.sleep(0.0005)
    results.add("start", "accept_ms", target, 1000 * (time.monotonic() - start))
    client.wait_for_answer(target.port, "/health")
    results.add("start", "answer_ms", target, 1000 * (time.monotonic() - start))
    results.add("start", "cpu_ms", target, 1000 * procfs.cpu_seconds(target.pids))
    client.post(target.port, "/v1/chat/completions", {"model": "m1", "messages": []})
    results.add("stop", "ms", target, 1000 * target.stop())
