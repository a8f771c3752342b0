"""What swapd has to reach; wherever possible as a ratio to the plain proxy or to the upstream itself."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from bench.results import Results
from bench.speed import slowness
from bench.streams import UNPACED_STREAMS

SWAPD, PLAIN, DIRECT = "swapd", "plain", "direct"

MB, KB = 1_000_000, 1_000


@frozen
class Budget:
    """One figure and its bound: `figure` computes it, or gives None when something was not measured.

    `cpu_bound` says that the figure is nothing but work, so that a slower machine makes it worse in
    proportion (see `speed`). Where part of it is waiting, as in a cold start, it is judged as measured.
    """

    text: str
    bound: float
    unit: str
    at_least: bool
    figure: Callable[[Results], float | None]
    cpu_bound: bool = False


@frozen
class Verdict:
    """A budget held against one run: `value` as measured, `there` as on the machine of the budgets."""

    budget: Budget
    value: float | None
    there: float | None

    @property
    def kept(self) -> bool | None:
        if self.there is None:
            return None
        if self.budget.at_least:
            return self.there >= self.budget.bound
        return self.there <= self.budget.bound


def verdicts(results: Results) -> list[Verdict]:
    """All budgets held against these results, in order."""
    return [_verdict(budget, results) for budget in BUDGETS]


def _verdict(budget: Budget, results: Results) -> Verdict:
    value = budget.figure(results)
    factor = slowness(results) if budget.cpu_bound else None
    if value is None or factor is None:
        return Verdict(budget, value, value)
    return Verdict(budget, value, value * factor if budget.at_least else value / factor)


def _own(measurement: str, quantity: str, divisor: float = 1.0) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        value = results.value(measurement, quantity, SWAPD)
        return None if value is None else value / divisor

    return figure


def _ratio(
    measurement: str, quantity: str, other: str = PLAIN, *, other_measurement: str | None = None
) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        own = results.value(measurement, quantity, SWAPD)
        theirs = results.value(other_measurement or measurement, quantity, other)
        return None if own is None or not theirs else own / theirs

    return figure


def _added(measurement: str, quantity: str, divisor: float) -> Callable[[Results], float | None]:
    """Ours less that of the upstream without a proxy."""

    def figure(results: Results) -> float | None:
        own, direct = (results.value(measurement, quantity, name) for name in (SWAPD, DIRECT))
        return None if own is None or direct is None else (own - direct) / divisor

    return figure


def _worst(prefix: str, quantity: str) -> Callable[[Results], float | None]:
    """The highest of all measurements whose name begins so."""

    def figure(results: Results) -> float | None:
        names = [name for name, kind in results.rows() if name.startswith(prefix) and kind == quantity]
        values = [results.value(name, quantity, SWAPD) for name in names]
        return max((value for value in values if value is not None), default=None)

    return figure


def _slowest_stream_ratio(results: Results) -> float | None:
    ratios = [_ratio(f"chunks/{n}", "per_second")(results) for n in UNPACED_STREAMS]
    return min((ratio for ratio in ratios if ratio is not None), default=None)


def _wait_to_bound(results: Results) -> float | None:
    wait, bound = (results.value(f"fairness/{name}", "ms", SWAPD) for name in ("wait", "bound"))
    return None if wait is None or not bound else wait / bound


BUDGETS: tuple[Budget, ...] = (
    Budget("CPU per request, 8 connections, to plain", 0.16, "×", False, _ratio("requests/8", "cpu_us")),
    Budget("CPU per request, 64 connections, to plain", 0.08, "×", False, _ratio("requests/64", "cpu_us")),
    Budget(
        "CPU per request, 64 connections", 150, "µs", False, _own("requests/64", "cpu_us"), cpu_bound=True
    ),
    Budget(
        "CPU per request, 64 connections, to that at 1",
        1.1,
        "×",
        False,
        _ratio("requests/64", "cpu_us", SWAPD, other_measurement="requests/1"),
    ),
    Budget(
        "CPU per request, 256 idle upstream connections, to none",
        1.1,
        "×",
        False,
        _ratio("requests/8 idle", "cpu_us", SWAPD, other_measurement="requests/8"),
    ),
    Budget("requests/s, 8 connections, to plain", 6, "×", True, _ratio("requests/8", "per_second")),
    Budget("requests/s, 64 connections, to plain", 12, "×", True, _ratio("requests/64", "per_second")),
    Budget(
        "added p50, 1 connection", 0.25, "ms", False, _added("requests/1", "p50_us", 1000), cpu_bound=True
    ),
    Budget("chunks/s unpaced, worst of 1/16/64 streams, to plain", 8, "×", True, _slowest_stream_ratio),
    Budget(
        "chunks/s unpaced, 64 streams", 150_000, "/s", True, _own("chunks/64", "per_second"), cpu_bound=True
    ),
    Budget("CPU per paced chunk", 55, "µs", False, _own("paced", "cpu_us"), cpu_bound=True),
    Budget("memory per open stream", 32, "KB", False, _own("open streams", "bytes", KB)),
    Budget(
        "a decision of a policy, worst", 1000, "µs", False, _worst("decide/matrix", "cpu_us"), cpu_bound=True
    ),
    Budget("wait behind a busy model, to what is promised", 1.0, "×", False, _wait_to_bound),
    Budget("cold start beyond the model's own time, worst", 30, "ms", False, _worst("cold/", "ms")),
    Budget("swap beyond the models' own time, worst", 30, "ms", False, _worst("swap/", "ms")),
    Budget("idle memory", 45, "MB", False, _own("idle", "bytes", MB)),
    Budget("wake-ups while idle", 0, "", False, _own("idle", "wakeups")),
    Budget("accepting after exec", 300, "ms", False, _own("start", "accept_ms"), cpu_bound=True),
    Budget("answering after exec", 300, "ms", False, _own("start", "answer_ms"), cpu_bound=True),
    Budget("CPU time until the first answer", 300, "ms", False, _own("start", "cpu_ms"), cpu_bound=True),
    Budget(
        "loading 1,000 models, CPU time", 2000, "ms", False, _own("config/load", "cpu_ms"), cpu_bound=True
    ),
    Budget(
        "loading 1,000 models, to composing the YAML alone",
        1.5,
        "×",
        False,
        _ratio("config/load", "cpu_ms", SWAPD, other_measurement="config/compose"),
    ),
    Budget(
        "reloading them unchanged, to loading them",
        1.25,
        "×",
        False,
        _ratio("config/reload", "cpu_ms", SWAPD, other_measurement="config/load"),
    ),
    Budget("memory growth in loading them", 100, "MB", False, _own("config/memory", "bytes", MB)),
    Budget(
        "a JSON body of 5 MB, to route and edit",
        15,
        "ms CPU",
        False,
        _own("body of 5 MB", "cpu_ms"),
        cpu_bound=True,
    ),
    Budget("a big download", 300, "MB/s", True, _own("transfer/download", "mb_per_s"), cpu_bound=True),
    Budget("a big upload", 300, "MB/s", True, _own("transfer/upload", "mb_per_s"), cpu_bound=True),
    Budget("instructions per request", 600, "k", False, _own("instructions/request", "instructions", KB)),
    Budget("instructions per paced chunk", 130, "k", False, _own("instructions/chunk", "instructions", KB)),
    Budget("memory growth in a big download", 8, "MB", False, _own("memory/download", "bytes", MB)),
    Budget("memory growth in a big upload", 8, "MB", False, _own("memory/upload", "bytes", MB)),
    Budget("memory growth a second after all that", 8, "MB", False, _own("memory/after", "bytes", MB)),
    Budget("memory growth, client stops reading", 8, "MB", False, _own("memory/stalled", "bytes", MB)),
)
