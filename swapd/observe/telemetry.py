"""All that watches the daemon, in one place: what requests report to, and what the API shows from.

Nothing in here may slow a request or fail one. Everything that takes time happens elsewhere and later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from swapd.observe.activity.settings import StoreSettings
from swapd.observe.activity.store import ActivityStore
from swapd.observe.captures import CaptureRules, Captures, capture_of
from swapd.observe.events import EventHub
from swapd.observe.inflight import InFlight, InFlightRequest
from swapd.observe.metrics import UNKNOWN_MODEL, Metrics
from swapd.observe.recorder import GoingBy, ended, outcome_of, tap_for
from swapd.observe.sampling import Sampler

if TYPE_CHECKING:
    from swapd.config import Config
    from swapd.observe.activity.row import ActivityRow
    from swapd.observe.inflight import BodyTap
    from swapd.observe.logs import Logs
    from swapd.observe.tap import Outcome


_OK: Final = 200


class Rejection(Protocol):
    """What is known of a request that was refused."""

    @property
    def error_code(self) -> str: ...

    @property
    def request(self) -> InFlightRequest | None: ...


class Telemetry:
    """The table of requests in flight and those who are told of it.

    The mutable state is the configuration it goes by, replaced by `apply`, and that of its parts.
    """

    def __init__(self, config: Config, logs: Logs) -> None:
        self._config = config
        self._session_headers = _session_headers(config)
        self._log = logs.proxy
        self._going_by = GoingBy(1, config.routing.priorities)
        self.in_flight = InFlight(self)
        self.events = EventHub(self.in_flight, lambda text: logs.proxy.warn(text, event="events.dropped"))
        self.activity = ActivityStore(store_settings(config), self._report)
        self.captures = Captures(CaptureRules.from_config(config))
        self.metrics = Metrics()
        self.sampler = Sampler(
            config.performance,
            wants=self.events.wants,
            publish=self.events.publish,
            report=lambda level, text: self._tell(level, text, "gpu.probe"),
        )
        self.sampler.observe_lag = lambda seconds: self.metrics.loop_lag.observe((), seconds)
        self.events.on_wishes = self.sampler.wake
        self.shown: Callable[[ActivityRow], Any] = lambda row: {"id": row.id}
        """A row as events show it; whoever knows sets this."""

    async def open(self) -> None:
        """Open what is kept in files. Raises `NewerFile` for a store that this swapd cannot read."""
        await self.activity.open()

    def apply(self, config: Config, generation: int) -> None:
        """From the next request on do as this configuration says."""
        if store_settings(config) != store_settings(self._config):
            self.activity.change(store_settings(config))
        self.captures.apply(CaptureRules.from_config(config))
        self.sampler.apply(config.performance)
        self._config = config
        self._session_headers = _session_headers(config)
        self._going_by = GoingBy(generation, config.routing.priorities)

    def label_of(self, model: str) -> str:
        """A model's name for metrics: its id, a peer's model by its qualified name, or `(unknown)`."""
        if model in self._config.models:
            return model
        peer = self._config.resolve_peer(model)
        return UNKNOWN_MODEL if peer is None else "/".join(peer)

    async def run(self) -> None:
        """Do what is done later and together, until cancelled. Sleeps while nobody watches."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.events.run)
            nursery.start_soon(self.captures.run)
            nursery.start_soon(self.sampler.run)

    def close(self) -> None:
        """Write out what is left; takes two seconds at most."""
        self.activity.close()

    # -- what requests report --------------------------------------------------------------------------------

    def on_start(self, request: InFlightRequest) -> None:
        self.events.request_changed(request)

    def on_head(self, request: InFlightRequest) -> BodyTap | None:
        self.events.request_changed(request)
        if not request.recorded:
            return None
        rules = self.captures.rules
        tap = request.tap = tap_for(request, rules.most_of_a_body if rules.wants(request) else 0)
        return tap.feed

    def on_end(self, request: InFlightRequest) -> None:
        self.events.request_ended(request)
        seconds = time.perf_counter() - request.started
        label, code = self.label_of(request.model), request.progress.error_code
        self.metrics.request_ended(request, label, seconds, code)
        if request.recorded:
            self._record(request, label)

    def on_rejected(self, record: Rejection) -> None:
        """A request ended with an error of swapd's own, for a model or not."""
        model = "" if record.request is None else self.label_of(record.request.model)
        self.metrics.request_rejected(model, record.error_code)

    def _record(self, request: InFlightRequest, label: str) -> None:
        outcome = outcome_of(request)
        done = ended(request, outcome, session_headers=self._session_headers, going_by=self._going_by)
        id = self.activity.add(done)
        self.metrics.tokens_counted(outcome.tokens, label)
        if self._is_captured(request, outcome):
            self.captures.add(id, capture_of(request, request.tap, self.captures.rules))
        self.events.publish("activity", {"id": id})
        if self.events.wants("metrics"):
            self.events.publish("metrics", [self.shown(done.row())])

    def _is_captured(self, request: InFlightRequest, outcome: Outcome) -> bool:
        if not outcome.readable or not self.captures.rules.wants(request):
            return False
        model = self._config.models.get(request.model)
        if model is not None and model.captures is False:
            return False
        return request.progress.status != _OK or request.progress.bytes_sent > 0

    def _report(self, level: str, text: str) -> None:
        self._tell(level, text, "store.trouble")

    def _tell(self, level: str, text: str, event: str) -> None:
        log = {"error": self._log.error, "warn": self._log.warn}.get(level, self._log.info)
        log(text, event=event)
        self.events.notice(level, text)


def _session_headers(config: Config) -> dict[bytes, None]:
    """The names in their order."""
    return dict.fromkeys(name.lower().encode("latin-1") for name in config.ui.activity.session_headers)


def store_settings(config: Config) -> StoreSettings:
    """What of the configuration concerns the activity store."""
    most = config.metrics_max_in_memory
    store = config.store
    if store is None or not store.path:
        return StoreSettings(max_in_memory=most if most > 0 else 1000)
    return StoreSettings(
        path=Path(store.path),
        max_in_memory=most if most > 0 else 1000,
        max_age_s=store.max_age_s,
        max_rows=store.max_rows,
        max_bytes=store.max_size,
    )
