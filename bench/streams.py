"""Server-sent events: how many pass unpaced, how late they come when paced, what an open stream holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import procfs
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target
from bench.tools import Tools

UNPACED_STREAMS = (1, 16, 64)
PACED_STREAMS, PACED_RATE = 32, 100
OPEN_STREAMS, OPEN_RATE, OPEN_S = 200, 2, 2.5


def measure(targets: Sequence[Target], tools: Tools, scale: Scale, results: Results) -> None:
    """`chunks/N per_second`; `paced p50_us`, `p99_us`, `cpu_us` a chunk; `open streams bytes` a stream."""
    for _ in range(scale.rounds):
        for streams in UNPACED_STREAMS:
            for target in targets:
                load = tools.streams(target.port, streams, scale.load_s, 0)
                results.add(f"chunks/{streams}", "per_second", target, load.per_second)
                target.settle()
    for _ in range(scale.rounds):
        for target in targets:
            _paced(target, tools, scale, results)
    for target in targets:
        _open(target, tools, results)


def _paced(target: Target, tools: Tools, scale: Scale, results: Results) -> None:
    before = procfs.cpu_seconds(target.pids)
    load = tools.streams(target.port, PACED_STREAMS, scale.paced_s, PACED_RATE)
    cpu_s = procfs.cpu_seconds(target.pids) - before
    results.add("paced", "p50_us", target, load.p50_us)
    results.add("paced", "p99_us", target, load.p99_us)
    results.add("paced", "cpu_us", target, 1e6 * cpu_s / max(1, load.count))
    target.settle()


def _open(target: Target, tools: Tools, results: Results) -> None:
    before = procfs.resident_bytes(target.pids)
    load = tools.start_streams(target.port, OPEN_STREAMS, OPEN_S, OPEN_RATE)
    time.sleep(OPEN_S * 0.8)
    growth = procfs.resident_bytes(target.pids) - before
    load.wait()
    results.add("open streams", "bytes", target, growth / OPEN_STREAMS)
    target.settle()
