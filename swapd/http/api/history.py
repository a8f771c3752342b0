"""What became of the models' servers: the last starts of each, and why one is not there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from attrs import define, field

from swapd.nursery.events import Crashed, ReloadApplied, StartFailed, StateChanged
from swapd.nursery.manager import ManagerEvent
from swapd.nursery.reports import Gone
from swapd.nursery.states import ModelState
from swapd.observe.timestamps import utc_timestamp

STARTS_KEPT: Final = 20


@define(eq=False)
class Start:
    """One start of a model's server. Times in nanoseconds since the epoch; 0 for what has not happened."""

    started_ns: int
    ready_ns: int = 0
    ended_ns: int = 0
    outcome: str = "starting"
    """"starting", "ready", "failed" (never became ready), "crashed", "stopped"."""
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    """Number of the signal that ended it, if one did."""

    def as_json(self) -> dict[str, Any]:
        return {
            "started_at": utc_timestamp(self.started_ns),
            "ready_at": utc_timestamp(self.ready_ns) if self.ready_ns else None,
            "ended_at": utc_timestamp(self.ended_ns) if self.ended_ns else None,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "reason": self.reason or None,
        }


@define(eq=False)
class Past:
    """The past of one model, as far as it is remembered."""

    starts: deque[Start] = field(factory=lambda: deque(maxlen=STARTS_KEPT))
    last_error: str = ""
    """Why its server is not running; empty once it was ready again."""

    def summary(self) -> dict[str, Any]:
        """What of it stands in the list of models."""
        return {"last_error": self.last_error}


class ModelHistory:
    """Remembers the last starts of each model, of those that are configured.

    The mutable state is a `Past` a model, changed by `on_event`, which is to be told what the manager tells
    its subscribers.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._models: dict[str, Past] = {}

    def of(self, model: str) -> Past:
        """The past of a model, empty if it has none."""
        return self._models.get(model) or Past()

    def on_event(self, event: ManagerEvent) -> None:
        match event:
            case StateChanged(model, old, new):
                self._on_state(self._models.setdefault(model, Past()), old, new)
            case StartFailed(model, _, message):
                self._on_failure(self._models.setdefault(model, Past()), "failed", message)
            case Crashed(model, _, message):
                self._on_failure(self._models.setdefault(model, Past()), "crashed", message)
            case Gone(model, _, ending):
                if (past := self._models.get(model)) is not None and past.starts:
                    past.starts[-1].exit_code, past.starts[-1].signal = ending.code, ending.signal
            case ReloadApplied(removed=removed):
                for model in removed:
                    self._models.pop(model, None)

    def _on_state(self, past: Past, old: ModelState, new: ModelState) -> None:
        now = self._now_ns()
        if new is ModelState.STARTING:
            past.starts.append(Start(now))
        elif past.starts:
            start = past.starts[-1]
            if new is ModelState.READY:
                start.ready_ns, start.outcome = now, "ready"
                past.last_error = ""
            elif new in (ModelState.STOPPED, ModelState.SHUTDOWN) and not start.ended_ns:
                start.ended_ns = now
                if start.outcome in ("starting", "ready"):
                    start.outcome = "stopped"

    def _on_failure(self, past: Past, outcome: str, message: str) -> None:
        past.last_error = message
        if past.starts:
            past.starts[-1].outcome = outcome
            past.starts[-1].reason = message.partition("\n")[0]
