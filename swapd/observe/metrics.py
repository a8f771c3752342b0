"""Counting what happens, for Prometheus. Cheap, for every request pays for it; the text is made elsewhere.

The names of models come from the configuration, never from clients: nobody can make the counters grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from swapd.observe.inflight import InFlightRequest
    from swapd.observe.usage import Tokens

WAITS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
DURATIONS: Final = (*WAITS, 600.0)
LAGS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
RATES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)

UNKNOWN_MODEL: Final = "(unknown)"

_REASONS: Final = {
    "concurrency_limit": "concurrency",
    "unauthorized": "auth",
    "model_not_allowed": "not_allowed",
    "shutting_down": "shutdown",
    "crash_looping": "breaker",
    "queue_timeout": "queue_timeout",
    "insufficient_memory": "memory",
}
_UPSTREAM_ERRORS: Final = {
    "upstream_timeout": "timeout",
    "peer_timeout": "timeout",
    "peer_error": "connect",
}


class Histogram:
    """How many observations fell below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Histograms:
    """One histogram for each combination of labels that has occurred."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.by_labels: dict[tuple[str, ...], Histogram] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        histogram = self.by_labels.get(labels)
        if histogram is None:
            histogram = self.by_labels[labels] = Histogram(self._bounds)
        histogram.observe(value)


class Metrics:
    """Everything that is counted; the labels are in the order of `swapd.observe.prometheus`.

    The mutable state is the counters, changed by the methods, each told of one kind of thing.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()
        self.durations = Histograms(DURATIONS)
        self.first_token = Histograms(WAITS)
        self.queue_wait = Histograms(WAITS)
        self.rejected: Counter[tuple[str, ...]] = Counter()
        self.upstream_errors: Counter[tuple[str, ...]] = Counter()
        self.tokens: Counter[tuple[str, ...]] = Counter()
        self.generation_rate = Histograms(RATES)
        self.prompt_rate = Histograms(RATES)
        self.swaps: Counter[tuple[str, ...]] = Counter()
        self.swap_durations = Histograms(DURATIONS)
        self.loads = Histograms(DURATIONS)
        self.unloads: Counter[tuple[str, ...]] = Counter()
        self.reloads: Counter[tuple[str, ...]] = Counter()
        self.loop_lag = Histograms(LAGS)

    def request_ended(self, request: InFlightRequest, model: str, seconds: float, error_code: str) -> None:
        """A request for a model has its answer; `model` is its name as a label."""
        status = request.progress.status
        self.requests[model, request.path, str(status or 499)] += 1
        self.durations.observe((model, request.path), seconds)
        if request.granted:
            self.queue_wait.observe((model,), request.granted - request.started)
        if request.first_byte:
            self.first_token.observe((model,), request.first_byte - request.started)
        if error_code == "upstream_unreachable":
            self.upstream_errors[model, "reset" if request.first_byte else "connect"] += 1
        elif error_code in _UPSTREAM_ERRORS:
            self.upstream_errors[model, _UPSTREAM_ERRORS[error_code]] += 1
        elif status >= 500 and not error_code:
            self.upstream_errors[model, "status_5xx"] += 1

    def request_rejected(self, model: str, error_code: str) -> None:
        """A request was refused by swapd itself; `model` is "" if it named none."""
        if error_code == "not_found":
            reason = "unknown_model" if model else "no_model"
        elif error_code in _REASONS:
            reason = _REASONS[error_code]
        else:
            return
        self.rejected[model or UNKNOWN_MODEL, reason] += 1

    def tokens_counted(self, tokens: Tokens, model: str) -> None:
        """The figures of a request are known; those that are not reported do not count."""
        for kind, count in (
            ("prompt", tokens.input),
            ("cached", tokens.cached),
            ("generated", tokens.output),
            ("drafted", tokens.draft),
            ("accepted", tokens.draft_accepted),
        ):
            if count > 0:
                self.tokens[model, kind] += count
        if tokens.generated_per_s > 0:
            self.generation_rate.observe((model,), tokens.generated_per_s)
        if tokens.prompt_per_s > 0:
            self.prompt_rate.observe((model,), tokens.prompt_per_s)
