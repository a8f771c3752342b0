"""What the control API has at hand: the configuration, the manager, the logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from swapd.nursery.states import RUNNING, ModelState
from swapd.observe.inflight import InFlight
from swapd.observe.logs import Logs
from swapd.version import BUILD, Build

if TYPE_CHECKING:
    from swapd.config import Config


class ModelStatus(Protocol):
    """What a snapshot tells about one model, as far as the API shows it."""

    @property
    def state(self) -> ModelState: ...


class ManagerSnapshot(Protocol):
    """The state of all models at one moment: for showing, never for deciding."""

    @property
    def models(self) -> Mapping[str, ModelStatus]: ...


class ModelManager(Protocol):
    """The part of the process manager that the API uses."""

    def snapshot(self) -> ManagerSnapshot: ...

    async def unload(self, models: Sequence[str] | None) -> None:
        """Stop these models, or all; returns when they have stopped."""


class Control(Struct, frozen=True):
    """Handed to every handler. `config` gives the configuration in force, which a reload may replace;
    `now` is wall-clock time in seconds since the epoch."""

    config: Callable[[], Config]
    manager: ModelManager
    logs: Logs
    in_flight: InFlight = field(default_factory=InFlight)
    build: Build = BUILD
    now: Callable[[], float] = time.time

    def running(self) -> dict[str, ModelState]:
        """The running set: models that have a process now, in the order of the configuration, by state."""
        models = self.manager.snapshot().models
        return {
            name: models[name].state
            for name in self.config().models
            if name in models and models[name].state in RUNNING
        }
