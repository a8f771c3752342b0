"""What the control API has at hand: the configuration, the manager, the logs."""

from __future__ import annotations

import enum
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from swapd.http.api.history import ModelHistory
from swapd.http.proxy.profiles import Profiles
from swapd.nursery.states import RUNNING, ModelState
from swapd.observe.logs import Logs
from swapd.observe.telemetry import Telemetry
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

    async def load(self, model: str) -> None:
        """Make the model ready, whatever failures went before. Raises `Refused`."""

    async def restart(self, model: str) -> None:
        """Unload the model when its requests have ended, and load it again. Raises `Refused`."""

    def pin(self, model: str, by: str | None) -> None:
        """Keep the model however long it is idle; with None no longer."""

    async def unload(self, models: Sequence[str] | None, *, drain: bool = False) -> None:
        """Stop these models, or all; returns when they have stopped. With `drain` requests end first."""


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
    telemetry: Telemetry
    profiles: Profiles
    config_status: Callable[[], Any]
    """The state of the configuration: a `ConfigStatus` of `swapd.supervision.configuration`."""
    reload: Callable[[], Awaitable[Any]]
    """Reload the configuration; returns the `ConfigStatus` after it."""
    start_soon: Callable[..., object]
    """Run an async function in the background, as a nursery does."""
    readiness: Callable[[], Readiness] = Readiness
    history: ModelHistory = field(default_factory=ModelHistory)
    started_at: float = field(default_factory=time.time)
    build: Build = BUILD
    now: Callable[[], float] = time.time
    with_ui: bool = True
    """Whether the web interface is served."""

    def running(self) -> dict[str, ModelState]:
        """The running set: models that have a process now, in the order of the configuration, by state."""
        models = self.manager.snapshot().models
        return {
            name: models[name].state
            for name in self.config().models
            if name in models and models[name].state in RUNNING
        }
