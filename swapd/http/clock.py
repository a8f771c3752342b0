"""The time, for those who ask for it with every request."""

from __future__ import annotations

from collections.abc import Callable

import trio


def clock() -> Callable[[], float]:
    """What tells trio's time: seconds, monotonic.

    `trio.current_time` looks for the clock of the run first, every time. Where there is no run yet, that is
    what is returned.
    """
    try:
        return trio.lowlevel.current_clock().current_time
    except RuntimeError:
        return trio.current_time
