"""What the parts of the decision core share: the event at hand, the timers, the settings."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from swapd.nursery.events import Effect, Settings
from swapd.nursery.timers import Timers


@define(eq=False)
class Context:
    """One object, given to every part of the core when the scheduler is made.

    `now` (monotonic seconds) and `effects` belong to the event at hand and are set by `Scheduler.handle`;
    `settings` is replaced by a reload; `drain_until` is set once the daemon shuts down.
    """

    settings: Settings
    random: Callable[[], float]
    """Numbers in [0, 1), for the jitter of the breakers."""
    timers: Timers = field(factory=Timers)
    now: float = 0.0
    effects: list[Effect] = field(factory=list)
    drain_until: float | None = None

    @property
    def shutting_down(self) -> bool:
        return self.drain_until is not None

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)
