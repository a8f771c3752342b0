"""The parts of the benchmark. A new one is a function `(Bench) -> None` and a line in `PARTS`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from bench import (
    bodies,
    config_load,
    decisions,
    fairness,
    footprint,
    instructions,
    memory,
    readiness,
    speed,
    streams,
    throughput,
)
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target, running
from bench.tools import Tools


@frozen
class Bench:
    """What a part works with. It measures `targets`, and adds to `results`."""

    targets: Sequence[Target]
    """All, the upstream without a proxy (`direct`) first."""
    yardsticks: Sequence[Target]
    """Those of `speed`, also where they are not measured otherwise."""
    tools: Tools
    scale: Scale
    results: Results

    @property
    def proxies(self) -> list[Target]:
        return [target for target in self.targets if target.proxied]

    @property
    def direct(self) -> list[Target]:
        return [target for target in self.targets if not target.proxied]


Part = Callable[[Bench], None]


def _speed(bench: Bench) -> None:
    with running([*bench.direct, *bench.yardsticks]):
        speed.measure(bench.yardsticks, bench.tools, bench.scale, bench.results)


def _config(bench: Bench) -> None:
    for target in bench.targets:
        if target.name == "swapd":
            config_load.measure(target, bench.scale, bench.results)


def _start(bench: Bench) -> None:
    with running(bench.direct):
        footprint.measure_start(bench.proxies, bench.scale, bench.results)


def _idle(bench: Bench) -> None:
    with running(bench.targets):
        footprint.measure_idle(bench.proxies, bench.scale, bench.results)


def _requests(bench: Bench) -> None:
    with running(bench.targets):
        throughput.measure(bench.targets, bench.tools, bench.scale, bench.results)


def _streams(bench: Bench) -> None:
    with running(bench.targets):
        streams.measure(bench.targets, bench.tools, bench.scale, bench.results)


def _readiness(bench: Bench) -> None:
    with running(bench.targets):
        readiness.measure(bench.proxies, bench.scale, bench.results)


def _scheduling(bench: Bench) -> None:
    for target in bench.targets:
        if target.name == "swapd":
            decisions.measure(target, bench.scale, bench.results)
            fairness.measure(target, bench.tools, bench.scale, bench.results)


def _bodies(bench: Bench) -> None:
    swapping = [target for target in bench.targets if target.swaps]
    with running(swapping):
        bodies.measure(swapping, bench.scale, bench.results)


def _instructions(bench: Bench) -> None:
    for target in bench.targets:
        if target.name == "swapd":
            with tempfile.TemporaryDirectory(prefix="swapd-bench-") as directory:
                instructions.measure(target, bench.tools, bench.results, Path(directory))


def _memory(bench: Bench) -> None:
    with running(bench.targets):
        memory.measure(bench.proxies, bench.scale, bench.results)


PARTS: Final[Mapping[str, Part]] = {
    "speed": _speed,
    "config": _config,
    "start": _start,
    "idle": _idle,
    "requests": _requests,
    "streams": _streams,
    "readiness": _readiness,
    "memory": _memory,
    "bodies": _bodies,
    "instructions": _instructions,
    "scheduling": _scheduling,
}
"""In the order in which they run. `speed` always does: it tells how to read the absolute figures."""
