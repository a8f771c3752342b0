"""`/api/performance` and `/api/hardware`, against a real daemon on the real machine."""

from __future__ import annotations

import os

import pytest
import trio

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import config, running

pytestmark = pytest.mark.real

SAMPLED = config().replace("performance: {disabled: true}", "performance: {every: 5s}")


async def test_case_69_given_no_sampling_when_readings_are_asked_for_then_503_says_so(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        response = await client.http.get("/api/performance")
        bad = await client.http.get("/api/performance?after=bad")

    assert response.status_code == 503
    assert response.json() == {"enabled": False}
    assert bad.status_code == 400
    assert "invalid 'after' timestamp, use RFC3339 format" in bad.text


async def test_given_a_running_model_when_readings_are_asked_for_then_they_describe_the_machine(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, SAMPLED) as client:
        await client.chat()

        first = await client.get("/api/performance")
        newest = first["sys_stats"][-1]["timestamp"]
        later = await client.get("/api/performance", params={"after": newest})
        minutes = await client.get("/api/performance", params={"resolution": "1m"})
        odd = await client.http.get("/api/performance?resolution=2m")

    system = first["sys_stats"][0]
    assert first["enabled"] is True
    assert len(system["cpu_util_per_core"]) == os.cpu_count()
    assert 0 < system["mem_used_mb"] < system["mem_total_mb"]
    assert {"load_avg_1", "load_avg_5", "load_avg_15", "swap_total_mb", "swap_used_mb"} <= set(system)
    assert all(set(each) == {"name", "bytes_recv", "bytes_sent"} for each in system["net_io"])
    assert "lo" not in [each["name"] for each in system["net_io"]]
    assert [probe["source"] for probe in first["probes"]] == ["nvidia", "amd"]
    assert all(probe["message"] for probe in first["probes"])
    assert later["sys_stats"] == [] and later["gpu_stats"] == []
    assert set(minutes["sys_stats"][0]["mem_used_mb"]) == {"min", "avg", "max"}
    assert odd.status_code == 400


async def test_given_a_follower_when_a_reading_is_taken_then_it_is_told_and_the_model_shows_its_memory(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, SAMPLED) as client:
        await client.chat()

        with trio.fail_after(20):
            async with client.events("?types=perfsys") as events:
                _, reading = await events.next()
        entry = await client.get("/api/models/m1")

    assert reading["mem_total_mb"] > 0
    assert 1 < entry["rss_mb"] < 1000


async def test_given_a_machine_when_it_is_described_then_the_members_are_those_of_the_format(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        found = await client.get("/api/hardware")
        again = await client.get("/api/hardware")

    assert found == again
    assert found["schema_version"] == 1
    assert found["capture"]["scope"] == "inference_host"
    assert found["operating_system"]["family"] == "linux"
    assert found["environment"]["kind"] in ("native", "container", "virtual_machine", "wsl")
    assert found["cpu"]["logical_thread_count"] == os.cpu_count()
    assert found["memory"]["capacity_bytes"] > 1 << 28
    assert [each["index"] for each in found["accelerators"]] == list(range(len(found["accelerators"])))


async def test_given_nothing_that_runs_and_nobody_who_asks_then_nothing_is_read(daemon: StartDaemon) -> None:
    async with running(daemon, SAMPLED) as client:
        status = f"/proc/{client.daemon.pid}/smaps"
        with open(status) as file:  # noqa: ASYNC230, PTH123
            mapped = file.read()

    # What reads the machine is loaded by the first reading.
    assert "psutil" not in mapped
