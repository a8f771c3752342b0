"""What is counted, in the text that Prometheus reads; and that the dashboard asks for nothing else."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from swapd.observe.metrics import WAITS, Histogram, Metrics
from swapd.observe.prometheus import Gauges, exposition


def gauges() -> Gauges:
    return Gauges(
        build=("1.2.3", "abc"),
        in_flight={("m1",): 2},
        queued={("m1",): 1},
        states={("m1", "ready"): 1.0},
        event_clients=1,
        events_dropped=3,
        capture_bytes=10,
        capture_entries=1,
        config_ok=True,
        config_loaded_at=1_785_900_000.5,
        store_queue=0,
        log_dropped={("proxy",): 7},
    )


def names_of(text: bytes) -> set[str]:
    """The names that a query may use: of samples, and of those that a histogram will have."""
    names = set()
    for family in text_string_to_metric_families(text.decode()):
        names |= {sample.name for sample in family.samples} | {family.name}
        if family.type == "histogram":
            names |= {f"{family.name}_{ending}" for ending in ("bucket", "sum", "count")}
        if family.type == "counter":
            names.add(f"{family.name}_total")
    return names


def test_given_observations_when_counted_then_each_falls_below_its_bound_and_the_bound_is_included() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)

    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 8.0


def test_given_counters_when_written_then_prometheus_own_parser_reads_them_back() -> None:
    metrics = Metrics()
    metrics.requests['mo"d\\el\n', "/v1/chat/completions", "200"] += 3
    metrics.queue_wait.observe(("m1",), 0.2)
    metrics.queue_wait.observe(("m1",), 1000.0)

    families = {
        family.name: family
        for family in text_string_to_metric_families(exposition(metrics, gauges()).decode())
    }

    (request,) = families["swapd_requests"].samples
    assert (request.labels["model"], request.value) == ('mo"d\\el\n', 3)
    waits = families["swapd_queue_wait_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in waits if sample.name.endswith("_bucket")}
    assert len(buckets) == len(WAITS) + 1
    assert (buckets["0.1"], buckets["0.25"], buckets["300.0"], buckets["+Inf"]) == (0, 1, 1, 2)
    assert families["swapd_config_last_reload_timestamp_seconds"].samples[0].value == 1_785_900_000.5
    assert families["swapd_events_dropped"].samples[0].value == 3


def test_given_refusals_when_counted_then_only_those_with_a_reason_are() -> None:
    metrics = Metrics()
    for model, code in (("", "not_found"), ("m1", "queue_timeout"), ("m1", "bad_request")):
        metrics.request_rejected(model, code)

    assert dict(metrics.rejected) == {("(unknown)", "no_model"): 1, ("m1", "queue_timeout"): 1}
