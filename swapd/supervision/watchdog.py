"""Is the daemon more than a process that runs? Watching the one actor that everything depends on.

An event loop that turns proves little: requests could still be answered with errors or with nothing while
the actor, which decides about every model, is stuck. So life is what the actor answers: a ping goes through
its inbox like everything else, and comes back when it is handled.

Nobody asks while nobody wants to know: without a service manager's watchdog there is no timer here, and an
idle daemon sleeps. `/ready` asks, and so does the feeder of the watchdog.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

ANSWER_LIMIT_S: Final = 5.0
"""An actor that has not answered for so long is taken for stuck."""
LAG_LIMIT_S: Final = 5.0
"""An event loop that is so much late is not healthy, even if it still turns."""


class ActorWatch:
    """Knows whether the actor answers. `ping` returns when the actor has handled it.

    `error` and `info` take lines for the log: when the actor gets stuck and when it comes back. The mutable
    state is since when a ping has been under way, and when the last one came back; times on trio's clock.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        *,
        error: Callable[[str], None],
        info: Callable[[str], None],
        limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        self._ping = ping
        self._error = error
        self._info = info
        self._limit_s = limit_s
        self._wanted = trio.Event()
        self._asked_at: float | None = None
        self._complained = False
        self.answered_at = float("-inf")

    async def run(self) -> None:
        """Carry pings to the actor, one at a time, until cancelled. Sleeps while nobody asks."""
        while True:
            await self._wanted.wait()
            await self._ping()
            self._wanted = trio.Event()
            self._asked_at = None
            self.answered_at = trio.current_time()
            if self._complained:
                self._complained = False
                self._info("the process manager answers again")

    def ask(self) -> None:
        """Send a ping, unless one is under way. Synchronous."""
        if self._asked_at is None:
            self._asked_at = trio.current_time()
            self._wanted.set()

    def is_responsive(self) -> bool:
        """Whether the actor answers, as far as is known; this sends a ping, so the next call knows more.

        False as long as a ping has been waiting for longer than the limit.
        """
        self.ask()
        assert self._asked_at is not None
        waiting_s = trio.current_time() - self._asked_at
        if waiting_s < self._limit_s:
            return True
        if not self._complained:
            self._complained = True
            self._error(f"the process manager has not answered for {waiting_s:.0f} s; swapd is not ready")
        return False


async def feed_watchdog(
    feed: Callable[[], None], interval_s: float, watch: ActorWatch, warn: Callable[[str], None]
) -> None:
    """Call `feed` every third of `interval_s`, as long as there is reason to; until cancelled.

    The reason: the actor has answered a ping since the last time, and this task was woken less than five
    seconds late. If there is none the turn is left out, and after three in a row the service manager ends
    the daemon and starts another.
    """
    feed()
    while True:
        asked_at = trio.current_time()
        watch.ask()
        due = asked_at + interval_s / 3
        await trio.sleep_until(due)
        late_s = trio.current_time() - due
        if late_s >= LAG_LIMIT_S:
            warn(f"nothing has moved in swapd for {late_s:.0f} s: something blocked the event loop")
        elif watch.is_responsive() and watch.answered_at >= asked_at:
            feed()
