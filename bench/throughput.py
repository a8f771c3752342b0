"""Requests a second and CPU per request, from one connection to many, and with idle ones upstream."""

from __future__ import annotations

from collections.abc import Sequence

from bench import procfs, speed
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target
from bench.tools import Tools

CONNECTIONS = (1, 8, 64)

IDLE_UPSTREAMS = 256
"""How many connections to the upstream there have been before the last measurement."""


_PATIENCE_S = 20
"""How long a target may work on what so many clients have asked for at once: the plain one takes seconds."""


def measure(targets: Sequence[Target], tools: Tools, scale: Scale, results: Results) -> None:
    """`requests/N per_second`, `cpu_us`, `p50_us`, `p99_us`, for each N of `CONNECTIONS`, and idle.

    Targets and numbers of connections take turns, so that a slow moment of the machine does not hit only one.
    """
    for target in targets:
        tools.requests(target.port, 8, scale.warm_up_s)
    for _ in range(scale.rounds):
        for connections in CONNECTIONS:
            for target in targets:
                _round(f"requests/{connections}", connections, target, tools, scale, results)
    for target in targets:
        tools.requests(target.port, IDLE_UPSTREAMS, scale.warm_up_s)
        target.settle(_PATIENCE_S)
    for _ in range(scale.rounds):
        for target in targets:
            _round("requests/8 idle", 8, target, tools, scale, results)


def _round(name: str, connections: int, target: Target, tools: Tools, scale: Scale, results: Results) -> None:
    before = procfs.cpu_seconds(target.pids)
    load = tools.requests(target.port, connections, scale.load_s)
    cpu_s = procfs.cpu_seconds(target.pids) - before
    if load.errors:
        raise RuntimeError(f"{target.name}: {load.errors} errors in {load.count} requests")
    if not load.count:
        return  # still busy with what so many clients have asked for before
    results.add(name, "per_second", target, load.per_second)
    results.add(name, "cpu_us", target, 1e6 * cpu_s / load.count)
    results.add(name, "p50_us", target, load.p50_us)
    results.add(name, "p99_us", target, load.p99_us)
    if connections == speed.CONNECTIONS:
        speed.add(target, cpu_s / load.count, results)
