"""`/metrics`, against a real daemon, read by Prometheus' own parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import Client, config, running

pytestmark = pytest.mark.real

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def samples_of(client: Client) -> Samples:
    response = await client.http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.startswith("# performance monitor not available\n")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def test_case_69_given_no_monitoring_when_metrics_are_asked_for_then_what_requests_did_is_counted(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        await client.chat("nick")
        await client.chat("m1", stream=True)
        for number in range(3):
            await client.chat(f"made up {number}")
        await client.http.post("/v1/chat/completions", json={})
        await client.chat("off")
        await client.http.post("/api/models/unload/m1")

        samples = await samples_of(client)
    route = "/v1/chat/completions"
    assert value(samples, "swapd_requests_total", model="m1", route=route, code="200") == 2
    assert value(samples, "swapd_requests_total", model="(unknown)", route=route, code="404") == 3
    assert value(samples, "swapd_requests_total", model="off", route=route, code="502") == 1
    assert value(samples, "swapd_rejected_total", model="(unknown)", reason="unknown_model") == 3
    assert value(samples, "swapd_rejected_total", model="(unknown)", reason="no_model") == 1
    assert value(samples, "swapd_request_duration_seconds_count", model="m1", route=route) == 2
    assert value(samples, "swapd_request_duration_seconds_bucket", model="m1", route=route, le="+Inf") == 2
    assert value(samples, "swapd_time_to_first_token_seconds_count", model="m1") == 2
    assert value(samples, "swapd_queue_wait_seconds_count", model="m1") == 2
    assert value(samples, "swapd_tokens_total", model="m1", kind="generated") > 0
    assert value(samples, "swapd_swaps_total", model="m1", result="ok") == 1
    assert value(samples, "swapd_swaps_total", model="off", result="failed") >= 1
    assert value(samples, "swapd_model_load_seconds_count", model="m1") == 1
    # `off` has taken its place, or it was unloaded: it was stopped once in either case.
    assert (
        sum(
            count
            for (name, labels), count in samples.items()
            if name == "swapd_unloads_total" and ("model", "m1") in labels
        )
        == 1
    )
    assert value(samples, "swapd_model_state", model="m1", state="stopped") == 1
    assert value(samples, "swapd_model_state", model="m1", state="ready") == 0
    assert value(samples, "swapd_requests_in_flight", model="m1") == 0
    assert value(samples, "swapd_config_ok") == 1
    assert value(samples, "swapd_capture_entries") >= 2
    assert ("process_resident_memory_bytes", frozenset()) in samples
    assert not [name for name, _ in samples if name.startswith("llamaswap_")]


async def test_case_16_given_keys_when_metrics_are_asked_for_then_one_is_needed_unless_they_are_public(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more="apiKeys: [secret]")) as client:
        assert (await client.http.get("/metrics")).status_code == 401

        answer = await client.http.get("/metrics", headers={"x-api-key": "secret"})
        assert 'swapd_rejected_total{model="(unknown)",reason="auth"} 1.0' in answer.text
    async with running(daemon, config(more="apiKeys: [secret]\nmetrics: {public: true}")) as client:
        assert (await client.http.get("/metrics")).status_code == 200
        assert (await client.http.get("/api/metrics")).status_code == 401


async def test_given_a_bad_configuration_when_metrics_are_asked_for_then_they_say_so(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        (client.daemon.directory / "config.yaml").write_text("models: 7")
        await client.http.post("/api/config/reload")

        samples = await samples_of(client)
    assert value(samples, "swapd_config_ok") == 0
    assert value(samples, "swapd_config_reloads_total", result="rejected") == 1
