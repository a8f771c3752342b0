"""From what happens in the daemon to what clients of the event stream are told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from swapd.http.api.activity import shown
from swapd.http.api.configuration import status_as_json
from swapd.http.api.control import Control
from swapd.http.api.events import ui_config
from swapd.http.api.model_entries import model_entries
from swapd.nursery.events import Crashed, ReloadApplied, StartFailed, StateChanged, SwapDecided
from swapd.nursery.manager import ManagerEvent
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from swapd.config import Config

_PHASES = {
    ModelState.STARTING: "spawning",
    ModelState.READY: "ready",
    ModelState.STOPPING: "stopping",
}


class Announcements:
    """Publishes what clients want to know; each method is told of one kind of thing and never blocks.

    The mutable state is when each model's newest load began, for those that are loading.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._events = control.telemetry.events
        self._events.models = lambda: model_entries(control)
        control.telemetry.shown = lambda row: shown(control, row)
        self._loading_since: dict[str, float] = {}

    def on_manager_event(self, event: ManagerEvent) -> None:
        """Something has happened to a model; the model's history is told first."""
        match event:
            case StateChanged(model, _, new):
                if (phase := _PHASES.get(new)) is not None:
                    self._progress(model, phase)
                self._events.models_changed()
            case SwapDecided(target, evicted, reason):
                self._progress(target, "evicting", evicting=list(evicted), detail=reason)
            case StartFailed(model, _, message):
                self._progress(model, "failed", detail=message)
                self._events.models_changed()
            case Crashed():
                self._events.models_changed()
            case ReloadApplied():
                pass  # `on_reload` follows, when the new configuration is in force
            case _:
                pass

    def on_profile(self, active: str | None) -> None:
        """Another profile is active, or none."""
        self._events.publish("profileChanged", {"active": active})
        self._events.models_changed()

    def on_reload(self, status: Any, before: Config) -> None:
        """A reload has ended; `before` is the configuration that was in force when it began."""
        self._control.telemetry.metrics.reloads[status.state.value,] += 1
        self._events.publish("configStatus", status_as_json(status))
        if status.state.value == "rejected":
            self._events.notice("error", f"the new configuration was rejected: {status.message}")
            return
        if before.ui.activity != self._control.config().ui.activity:
            self._events.publish("uiConfig", ui_config(self._control))
        self._events.models_changed()

    def _progress(
        self, model: str, phase: str, *, evicting: list[str] | None = None, detail: str = ""
    ) -> None:
        now = time.monotonic()
        if phase in ("evicting", "spawning"):
            since = self._loading_since.setdefault(model, now)
        else:
            since = self._loading_since.pop(model, now)
        self._events.publish(
            "modelProgress",
            {
                "model": model,
                "phase": phase,
                "since_ms": round((now - since) * 1000),
                "evicting": evicting or [],
                "queue_pos": None,
                "detail": detail,
            },
        )
