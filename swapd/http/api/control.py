"""What the control API has at hand: the configuration, the manager, the logs."""

from __future__ import annotations

import enum
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


class Phase(enum.Enum):
    """Whether requests are welcome."""

    STARTING = "starting"
    """The daemon serves, but models that it is to preload are not loaded yet."""
    READY = "ready"
    STOPPING = "stopping"
    STUCK = "stuck"
    """The process manager does not answer, so no request that needs it would be."""


class Readiness(Struct, frozen=True):
    """The phase, and the models that are still to be preloaded."""

    phase: Phase = Phase.READY
    waiting: tuple[str, ...] = ()


class Control(Struct, frozen=True):
    """Handed to every handler. `config` gives the configuration in force, which a reload may replace;
    `readiness` is asked by `/ready`; `now` is wall-clock time in seconds since the epoch."""

    config: Callable[[], Config]
    manager: ModelManager
    logs: Logs
    in_flight: InFlight = field(default_factory=InFlight)
    readiness: Callable[[], Readiness] = Readiness
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
