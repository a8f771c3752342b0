"""The circuit breaker of one model: a server that keeps failing is not started at every request.

Below the threshold a failure costs nothing: the next request simply tries again. From the threshold on the
breaker is *open* for a time that doubles with each further failure; requests are refused meanwhile and say
when the next attempt is. When the time is over it is *half-open*: one attempt may run, and others may join
it. It closes when the server has been ready for `stable_after_s`."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from msgspec import Struct

JITTER = 0.1
"""The open time varies by this share either way, so that several failing models do not retry in step."""


class BreakerSettings(Struct, frozen=True):
    """When to stop trying. `threshold` failures in a row open it; times in seconds."""

    threshold: int = 3
    base_s: float = 2.0
    factor: float = 2.0
    max_s: float = 300.0
    stable_after_s: float = 60.0

    def open_time_s(self, failures: int) -> float:
        """How long it stays open after that many failures in a row, before jitter; 0 below the threshold."""
        if self.threshold <= 0 or failures < self.threshold:
            return 0.0
        try:
            return min(self.max_s, self.base_s * self.factor ** (failures - self.threshold))
        except OverflowError:
            return self.max_s


@define
class Breaker:
    """How often in a row one model has failed, and until when it is left alone."""

    failures: int = 0
    open_until: float | None = None
    """Set while open or half-open: the time of the next permitted attempt."""
    last_cause: str = ""

    @property
    def closed(self) -> bool:
        return self.open_until is None

    def is_open(self, now: float) -> bool:
        """Whether an attempt is forbidden at `now`."""
        return self.open_until is not None and now < self.open_until

    def failed(self, cause: str, now: float, settings: BreakerSettings, random: Callable[[], float]) -> bool:
        """Count a failure; return whether the breaker is open now. `random` gives numbers in [0, 1)."""
        self.failures += 1
        self.last_cause = cause
        open_s = settings.open_time_s(self.failures)
        if open_s <= 0:
            return False
        self.open_until = now + open_s * (1 + JITTER * (2 * random() - 1))
        return True

    def reset(self) -> None:
        """Forget every failure: it was stable, or somebody who can know asked for another try."""
        self.failures = 0
        self.open_until = None
        self.last_cause = ""
