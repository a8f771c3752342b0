"""`/metrics`, against a real daemon, read by Prometheus' own parser."""

from __future__ import annotations

import sys
from pathlib import Path

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


async def test_given_sampling_then_the_machine_and_the_models_memory_are_there(daemon: StartDaemon) -> None:
    text = config().replace("performance: {disabled: true}", "performance: {every: 5s}")
    async with running(daemon, text) as client:
        await client.chat("m1")
        page = (await client.http.get("/metrics")).text

    names = {family.name for family in text_string_to_metric_families(page)}
    assert "performance monitor not available" not in page
    assert {"llamaswap_memory_total_bytes", "llamaswap_cpu_util_percent", "llamaswap_load_average"} <= names
    assert {"swapd_gpu_probe_up", "swapd_event_loop_lag_seconds", "swapd_model_memory_bytes"} <= names


UPSTREAM_PAGE = """\
# HELP llamacpp:tokens_total Tokens
# TYPE llamacpp:tokens_total counter
llamacpp:tokens_total 7
# TYPE odd counter
odd{model="inner"} 1
# TYPE process_open_fds gauge
process_open_fds 3
"""


async def test_given_servers_that_count_themselves_when_asked_for_then_their_figures_carry_the_models_name(
    daemon: StartDaemon, tmp_path: Path
) -> None:
    (tmp_path / "health").write_text("ok")
    (tmp_path / "metrics").write_text(UPSTREAM_PAGE)
    serve = f"{sys.executable} -m http.server --bind 127.0.0.1 -d {tmp_path} ${{PORT}}"
    text = (
        "metrics: {upstream: true}\nperformance: {disabled: true}\n"
        f"groups: {{all: {{swap: false, members: [a, b, c]}}}}\n"
        f"models: {{a: {{cmd: '{serve}'}}, b: {{cmd: '{serve}'}}, c: {{cmd: '{serve}'}}}}\n"
    )
    async with running(daemon, text) as client:
        for model in "ab":
            await client.http.post(f"/api/models/load/{model}?wait=1")

        without = (await client.http.get("/metrics")).text
        page = (await client.http.get("/metrics?upstream=1")).text

    families = list(text_string_to_metric_families(page))
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    assert "llamacpp" not in without
    assert len({family.name for family in families}) == len(families), "a family is there twice"
    assert value(samples, "llamacpp:tokens_total", model="a") == 7
    assert value(samples, "llamacpp:tokens_total", model="b") == 7
    assert value(samples, "odd", model="a", exported_model="inner") == 1
    assert value(samples, "process_open_fds", model="b") == 3
    assert value(samples, "process_open_fds") > 3
