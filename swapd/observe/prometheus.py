"""What is counted, as text for Prometheus. The format is the library's business, names and meanings ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from swapd.observe.metrics import Histograms, Metrics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
NO_MONITORING: Final = b"# performance monitor not available\n"

Labelled = Mapping[tuple[str, ...], float]


class Gauges(Struct, frozen=True):
    """What is not counted but looked up when somebody asks: label values → value, by metric."""

    build: tuple[str, str]
    """Version and commit."""
    in_flight: Labelled
    queued: Labelled
    states: Labelled
    event_clients: int
    events_dropped: int
    capture_bytes: int
    capture_entries: int
    config_ok: bool
    config_loaded_at: float
    store_queue: int
    log_dropped: Labelled


def exposition(metrics: Metrics, gauges: Gauges, more: Iterable[Metric] = ()) -> bytes:
    """The text of all families, with `more` of them."""
    registry = CollectorRegistry(auto_describe=False)
    ours = ProcessCollector(registry=None)
    registry.register(_Together((ours.collect(), _Everything(metrics, gauges).collect(), more)))
    return generate_latest(registry)


def merged(families: Iterable[Metric]) -> list[Metric]:
    """One family of each name, as the format demands: the first says what it is, and others of that kind add
    their samples to it."""
    by_name: dict[str, Metric] = {}
    for family in families:
        first = by_name.setdefault(family.name, family)
        if first is not family and first.type == family.type:
            first.samples.extend(family.samples)
    return list(by_name.values())


class _Together(Collector):
    def __init__(self, parts: Iterable[Iterable[Metric]]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        return merged(family for part in self._parts for family in part)


class _Everything:
    def __init__(self, metrics: Metrics, gauges: Gauges) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield from _gauges(self._gauges)
        yield from _counters(self._metrics)
        yield from _histograms(self._metrics)
        dropped: Labelled = {(): self._gauges.events_dropped}
        yield _counter("swapd_events_dropped", "Messages that event clients have missed.", (), dropped)
        yield _counter(
            "swapd_log_dropped_bytes",
            "Log text that its readers have missed.",
            ("source",),
            self._gauges.log_dropped,
        )


def _gauges(now: Gauges) -> Iterator[Metric]:
    plain = {
        "swapd_event_clients": ("Clients of the event stream.", now.event_clients),
        "swapd_capture_bytes": ("Memory used by captures.", now.capture_bytes),
        "swapd_capture_entries": ("Captures that are kept.", now.capture_entries),
        "swapd_config_ok": ("1 if the newest configuration is in force.", int(now.config_ok)),
        "swapd_config_last_reload_timestamp_seconds": (
            "When the configuration in force was loaded.",
            now.config_loaded_at,
        ),
        "swapd_store_queue_rows": ("Rows that wait to be written.", now.store_queue),
    }
    yield _gauge("swapd_build_info", "Which build this is.", ("version", "commit"), {now.build: 1})
    yield _gauge("swapd_requests_in_flight", "Requests being answered.", ("model",), now.in_flight)
    yield _gauge("swapd_queue_depth", "Requests that wait for their model.", ("model",), now.queued)
    yield _gauge("swapd_model_state", "1 for the state a model is in.", ("model", "state"), now.states)
    for name, (text, value) in plain.items():
        yield _gauge(name, text, (), {(): value})


def _counters(metrics: Metrics) -> Iterator[Metric]:
    yield _counter("swapd_requests", "Requests for models.", ("model", "route", "code"), metrics.requests)
    yield _counter(
        "swapd_rejected", "Requests refused by swapd itself.", ("model", "reason"), metrics.rejected
    )
    yield _counter("swapd_swaps", "Models started.", ("model", "result"), metrics.swaps)
    yield _counter("swapd_unloads", "Models stopped.", ("model", "reason"), metrics.unloads)
    yield _counter("swapd_tokens", "Tokens, as upstreams report them.", ("model", "kind"), metrics.tokens)
    yield _counter(
        "swapd_upstream_errors", "Requests that failed upstream.", ("model", "kind"), metrics.upstream_errors
    )
    yield _counter("swapd_config_reloads", "Reloads of the configuration.", ("result",), metrics.reloads)


def _histograms(metrics: Metrics) -> Iterator[Metric]:
    for name, text, labels, histograms in (
        (
            "swapd_request_duration_seconds",
            "From request to the end of its answer.",
            ("model", "route"),
            metrics.durations,
        ),
        (
            "swapd_time_to_first_token_seconds",
            "From request to the first byte of its answer's body.",
            ("model",),
            metrics.first_token,
        ),
        ("swapd_queue_wait_seconds", "How long requests waited.", ("model",), metrics.queue_wait),
        (
            "swapd_swap_duration_seconds",
            "From the stop of the victims until ready.",
            ("model",),
            metrics.swap_durations,
        ),
        ("swapd_model_load_seconds", "From start until ready.", ("model",), metrics.loads),
        (
            "swapd_event_loop_lag_seconds",
            "How late the event loop came to what was due.",
            (),
            metrics.loop_lag,
        ),
        (
            "swapd_generation_tokens_per_second",
            "Speed of generation, as upstreams report it.",
            ("model",),
            metrics.generation_rate,
        ),
        (
            "swapd_prompt_tokens_per_second",
            "Speed of reading prompts, as upstreams report it.",
            ("model",),
            metrics.prompt_rate,
        ),
    ):
        yield _histogram(name, text, labels, histograms)


def _gauge(name: str, text: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, labels: Sequence[str], values: Labelled) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, labels: Sequence[str], histograms: Histograms) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, histogram in histograms.by_labels.items():
        below, buckets = 0, []
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
        family.add_metric(key, buckets, histogram.sum)
    return family
