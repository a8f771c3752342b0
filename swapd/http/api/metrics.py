"""`/metrics`: what is counted, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import FLAG, TEXT, described
from swapd.http.api.resource import flag
from swapd.http.api.upstream_metrics import upstream_families
from swapd.nursery.events import StateChanged, Stop, StopReason, SwapDecided
from swapd.nursery.manager import ManagerEvent
from swapd.nursery.states import ModelState
from swapd.observe.metrics import Metrics

_STOP_REASONS: Final = {
    StopReason.EVICTED: "evict",
    StopReason.UNLOADED: "api",
    StopReason.IDLE: "ttl",
    StopReason.ABANDONED: "abandoned",
    StopReason.RELOADED: "reload",
    StopReason.SHUTDOWN: "shutdown",
}


@described("Figures for Prometheus", TEXT, query={"upstream": FLAG})
async def metrics(control: Control, request: Request) -> Response:
    """With `?upstream=1`, and `metrics.upstream: true`, also what the running models' servers count."""
    from swapd.observe.prometheus import CONTENT_TYPE, NO_MONITORING, exposition
    from swapd.observe.sampling.families import machine_families

    telemetry, settings = control.telemetry, control.config().metrics
    upstream = []
    if settings.upstream and flag(request, "upstream"):
        upstream = await upstream_families(control)
    await telemetry.sampler.fresh()
    await _observe_lag(telemetry.metrics)
    machine = machine_families(telemetry.sampler, compat=settings.compat)
    text = exposition(telemetry.metrics, _gauges(control), [*machine, *upstream])
    if not telemetry.sampler.enabled:
        text = NO_MONITORING + text
    return Response(text, headers={"content-type": CONTENT_TYPE})


async def _observe_lag(metrics: Metrics) -> None:
    """How long it takes until it is our turn again, now that somebody wants to know."""
    before = time.perf_counter()
    await trio.lowlevel.checkpoint()
    metrics.loop_lag.observe((), time.perf_counter() - before)


def _gauges(control: Control) -> Any:
    from swapd.observe.prometheus import Gauges

    snapshot: Any = control.manager.snapshot().models
    telemetry, status = control.telemetry, control.config_status()
    in_flight: Counter[tuple[str, ...]] = Counter(
        (telemetry.label_of(request.model),) for request in telemetry.in_flight.requests.values()
    )
    for id in snapshot:
        in_flight.setdefault((id,), 0)
    return Gauges(
        build=(control.build.version, control.build.commit),
        in_flight=in_flight,
        queued={(id,): model.queued for id, model in snapshot.items()},
        states={
            (id, state.value): float(model.state is state)
            for id, model in snapshot.items()
            for state in ModelState
        },
        event_clients=telemetry.events.clients,
        events_dropped=telemetry.events.dropped,
        capture_bytes=telemetry.captures.size,
        capture_entries=len(telemetry.captures),
        config_ok=status.state.value != "rejected",
        config_loaded_at=status.loaded_at,
        store_queue=telemetry.activity.waiting,
        log_dropped={(name,): ring.dropped_bytes for name, ring in control.logs.rings.items()},
    )


class LifecycleMetrics:
    """Counts starts, swaps and stops of models. The mutable state is what is going on with each model."""

    def __init__(self, metrics: Metrics, now: Any) -> None:
        """`now` is a clock in seconds."""
        self._metrics = metrics
        self._now = now
        self._swap_began: dict[str, float] = {}
        self._start_began: dict[str, float] = {}
        self._stop_reasons: dict[str, StopReason] = {}

    def on_event(self, event: ManagerEvent) -> None:
        match event:
            case SwapDecided(target):
                self._swap_began[target] = self._now()
            case StateChanged(model, old, new):
                self._on_state(model, old, new)
            case Stop(model, reason=reason):
                self._stop_reasons.setdefault(model, reason)
            case _:
                pass

    def _on_state(self, model: str, old: ModelState, new: ModelState) -> None:
        metrics, now = self._metrics, self._now()
        if new is ModelState.STARTING:
            self._start_began[model] = now
            self._swap_began.setdefault(model, now)
        elif new is ModelState.READY:
            metrics.loads.observe((model,), now - self._start_began.pop(model, now))
            metrics.swap_durations.observe((model,), now - self._swap_began.pop(model, now))
            metrics.swaps[model, "ok"] += 1
        elif old is ModelState.STARTING:
            self._start_began.pop(model, None)
            self._swap_began.pop(model, None)
            metrics.swaps[model, "failed" if new is ModelState.STOPPED else "aborted"] += 1
        if new in (ModelState.STOPPED, ModelState.SHUTDOWN):
            reason = self._stop_reasons.pop(model, None)
            if old in (ModelState.READY, ModelState.STOPPING):
                metrics.unloads[model, "crash" if reason is None else _STOP_REASONS[reason]] += 1
