"""How long and how often to measure: a full run takes about six minutes, a quick one about two."""

from __future__ import annotations

from attrs import frozen


@frozen
class Scale:
    """Durations in seconds, sizes in bytes."""

    rounds: int
    load_s: float
    warm_up_s: float
    paced_s: float
    idle_s: float
    repeats: int
    load_times_ms: tuple[int, ...]
    big_bytes: int


FULL = Scale(
    rounds=3,
    load_s=1.5,
    warm_up_s=0.5,
    paced_s=3.0,
    idle_s=10.0,
    repeats=5,
    load_times_ms=(20, 200, 700, 1500),
    big_bytes=200_000_000,
)

QUICK = Scale(
    rounds=1,
    load_s=1.0,
    warm_up_s=0.3,
    paced_s=2.0,
    idle_s=3.0,
    repeats=2,
    load_times_ms=(20, 200),
    big_bytes=50_000_000,
)
