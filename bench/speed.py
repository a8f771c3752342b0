"""How fast this machine is at the moment, told by programs whose cost on the machine of the budgets is known.

Budgets that are ratios to something measured in the same run hold anywhere. Those in milliseconds or
microseconds were set on one machine. The yardsticks do there and here the same work for a request, so the
quotient of their CPU times says how much longer any work takes here; nginx is the better one, being in C and
older than all of this.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import procfs
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target
from bench.tools import Tools

REFERENCE_US = {"nginx": 14.0, "plain": 1094.0}
"""CPU time a request where the budgets were set, best yardstick first."""

CONNECTIONS = 8


def measure(yardsticks: Sequence[Target], tools: Tools, scale: Scale, results: Results) -> None:
    """`speed cpu_us` of each yardstick. The other parts add to it whenever they measure the same."""
    for target in yardsticks:
        tools.requests(target.port, CONNECTIONS, scale.warm_up_s)
    for _ in range(scale.rounds):
        for target in yardsticks:
            before = procfs.cpu_seconds(target.pids)
            load = tools.requests(target.port, CONNECTIONS, scale.load_s / 2)
            add(target, (procfs.cpu_seconds(target.pids) - before) / load.count, results)


def add(target: Target, cpu_s: float, results: Results) -> None:
    """Note what a request at `CONNECTIONS` has cost, if `target` is a yardstick."""
    if target.name in REFERENCE_US:
        results.add("speed", "cpu_us", target, 1e6 * cpu_s)


def slowness(results: Results) -> float | None:
    """How many times as long as on the machine of the budgets work takes here; None if not measured."""
    for name, reference in REFERENCE_US.items():
        measured = results.value("speed", "cpu_us", name)
        if measured is not None:
            return measured / reference
    return None


def explanation(results: Results) -> str:
    """What a reader has to know to judge the absolute figures."""
    factor = slowness(results)
    if factor is None:
        return "How fast this machine is compared to that of the absolute budgets was not measured."
    measured = {name: results.value("speed", "cpu_us", name) for name in REFERENCE_US}
    told = " and ".join(
        f"{name} {value:,.0f} µs of CPU a request (there {REFERENCE_US[name]:,g})"
        for name, value in measured.items()
        if value is not None
    )
    return (
        f"Absolute budgets were set on another machine. Here and now work takes {factor:.2f} times as long: "
        f"{told}. The column “there” is the measured time divided by that; ratios need no such correction."
    )
