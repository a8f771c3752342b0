"""What a request that is not served is told: one function a case, so that the wording stands in one place.

Statuses and envelopes are the HTTP layer's; which case applies is the scheduler's.
"""

from __future__ import annotations

from math import ceil

from swapd.nursery.breaker import Breaker
from swapd.nursery.events import Refusal, RefusalCode

SHUTTING_DOWN = Refusal(RefusalCode.SHUTTING_DOWN, "swapd is shutting down", 5)
UNKNOWN_MODEL = Refusal(RefusalCode.NOT_FOUND, "no router for requested model")
TOO_MANY = Refusal(RefusalCode.CONCURRENCY_LIMIT, "Too many requests", 1)
CANCELLED = Refusal(RefusalCode.REQUEST_CANCELLED, "the request was cancelled")

MAX_RETRY_AFTER_S = 120
RETRY_AFTER_UNKNOWN_S = 10
"""What to tell a client whose model has never been loaded, so that nobody knows how long that takes."""


def start_failed(message: str) -> Refusal:
    return Refusal(RefusalCode.START_FAILED, message)


def start_timed_out(message: str) -> Refusal:
    return Refusal(RefusalCode.START_TIMEOUT, message)


def start_aborted(model: str) -> Refusal:
    return Refusal(
        RefusalCode.START_ABORTED, f"the start of model {model} was stopped before it was ready", 1
    )


def unloaded(model: str) -> Refusal:
    return Refusal(
        RefusalCode.MODEL_UNLOADED, f"model {model} was unloaded while the request waited for it", 1
    )


def not_loaded(model: str) -> Refusal:
    return Refusal(RefusalCode.MODEL_NOT_LOADED, f"model {model} is not loaded")


def does_not_fit(model: str) -> Refusal:
    return Refusal(
        RefusalCode.INSUFFICIENT_MEMORY,
        f"model {model} does not fit the memory budget, whatever else is stopped",
    )


def stop_stuck(stuck: str) -> Refusal:
    return Refusal(
        RefusalCode.STOP_STUCK,
        f"the process of model {stuck} does not end although it was killed; the kernel or a driver holds it",
        30,
    )


def crash_looping(model: str, breaker: Breaker, now: float) -> Refusal:
    """For a model whose breaker is open at `now`."""
    seconds = max(1, ceil((breaker.open_until or now) - now))
    return Refusal(
        RefusalCode.CRASH_LOOPING,
        f"model {model} failed {breaker.failures} times in a row; the next attempt is in {seconds} s. "
        f"Last cause: {breaker.last_cause}",
        seconds,
    )


def queue_timeout(model: str, waited_s: float, average_load_s: float | None, models_ahead: int) -> Refusal:
    """Retry-After is the model's average load time, for itself and for every model queued before it."""
    if average_load_s is None:
        retry_after_s = RETRY_AFTER_UNKNOWN_S
    else:
        retry_after_s = min(MAX_RETRY_AFTER_S, max(1, ceil(average_load_s * (1 + models_ahead))))
    message = f"queued for model {model} for {waited_s:g} s without being served"
    return Refusal(RefusalCode.QUEUE_TIMEOUT, message, retry_after_s)
