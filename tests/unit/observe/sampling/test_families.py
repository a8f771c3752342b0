"""The machine for Prometheus, under the names that dashboards of llama-swap ask for."""

from __future__ import annotations

import json
import re
import shutil
from array import array
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from swapd.config.settings import Performance
from swapd.observe.metrics import Metrics
from swapd.observe.prometheus import exposition
from swapd.observe.sampling import Sampler
from swapd.observe.sampling.families import machine_families
from swapd.observe.sampling.readings import (
    GpuDevice,
    GpuProcess,
    GpuReading,
    SystemReading,
    gpu_values,
    system_values,
)
from tests.unit.observe.test_prometheus import gauges, names_of

DASHBOARD = Path(__file__).parents[4] / "examples" / "grafana" / "swapd.json"

GPU = GpuReading(
    GpuDevice("nvidia", 0, 'A "GPU"', "NVIDIA", uuid="GPU-1"),
    gpu_values(
        {
            "temp_c": 61.0,
            "vram_temp_c": 70.0,
            "gpu_util_pct": 98.0,
            "mem_used_mb": 512.0,
            "mem_total_mb": 1024.0,
            "fan_speed_pct": 30.0,
            "power_draw_w": 250.5,
        }
    ),
    processes=(GpuProcess(100, 400.0), GpuProcess(101, 50.0), GpuProcess(999, 12.0)),
)
BARE_GPU = GpuReading(GpuDevice("amd", 0, "B", "AMD"), gpu_values({"temp_c": 40.0}))
SYSTEM = SystemReading(
    ts_ms=1_785_900_000_000,
    values=system_values(
        {
            "mem_total_mb": 2048,
            "mem_used_mb": 1024,
            "mem_free_mb": 512,
            "swap_total_mb": 64,
            "swap_used_mb": 1,
            "load_avg_1": 0.5,
            "load_avg_5": 0.25,
            "load_avg_15": 0.125,
        }
    ),
    cores=array("f", [12.5, 50.0]),
    interfaces=("eth0",),
    traffic=array("Q", [1000, 2000]),
)


@pytest.fixture
async def sampler() -> Sampler:
    """One that has taken a reading: two GPUs, and a model of two processes on the first."""
    sampler = Sampler(
        Performance(), wants=lambda kind: False, publish=lambda *_: None, report=lambda *_: None, sources=[]
    )

    await trio.lowlevel.checkpoint()
    sampler._keep(SYSTEM, (GPU, BARE_GPU), {"m1": (300.0, {100, 101})})
    return sampler


def text_of(sampler: Sampler, *, compat: bool = True) -> bytes:
    return exposition(Metrics(), gauges(), machine_families(sampler, compat=compat))


def samples_of(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_given_a_reading_then_dashboards_of_llama_swap_find_all_they_ask_for(sampler: Sampler) -> None:
    samples = samples_of(text_of(sampler))

    def value(name: str, /, **labels: str) -> Any:
        return samples[f"llamaswap_{name}", tuple(sorted(labels.items()))]

    assert value("cpu_util_percent", core="1") == 50
    assert value("memory_total_bytes") == 2048 << 20
    assert value("memory_used_bytes") == 1024 << 20
    assert value("memory_free_bytes") == 512 << 20
    assert value("swap_total_bytes") == 64 << 20
    assert value("swap_used_bytes") == 1 << 20
    assert value("load_average", interval="1m") == 0.5
    assert value("load_average", interval="15m") == 0.125
    assert value("network_bytes_total", interface="eth0", direction="recv") == 1000
    assert value("network_bytes_total", interface="eth0", direction="sent") == 2000
    gpu = {"id": "0", "name": 'A "GPU"', "uuid": "GPU-1"}
    assert value("gpu_temperature_celsius", **gpu) == 61
    assert value("gpu_vram_temperature_celsius", **gpu) == 70
    assert value("gpu_util_percent", **gpu) == 98
    assert value("gpu_memory_util_percent", **gpu) == 50
    assert value("gpu_memory_used_bytes", **gpu) == 512 << 20
    assert value("gpu_memory_total_bytes", **gpu) == 1024 << 20
    assert value("gpu_fan_speed_percent", **gpu) == 30
    assert value("gpu_power_draw_watts", **gpu) == 250.5
    assert value("gpu_temperature_celsius", id="1", name="B") == 40


async def test_given_a_models_processes_then_what_they_hold_is_told_by_kind_and_gpu(sampler: Sampler) -> None:
    samples = samples_of(text_of(sampler))

    name = "swapd_model_memory_bytes"
    assert samples[name, (("kind", "rss"), ("model", "m1"))] == 300 << 20
    assert samples[name, (("gpu", "0"), ("kind", "vram"), ("model", "m1"))] == 450 << 20


async def test_given_no_compat_then_only_names_of_our_own_are_there(sampler: Sampler) -> None:
    text = text_of(sampler, compat=False)

    assert b"llamaswap_" not in text
    assert b"swapd_model_memory_bytes" in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
async def test_given_the_whole_page_when_promtool_checks_it_then_the_format_is_right(
    sampler: Sampler,
) -> None:
    with trio.fail_after(30):
        checked = await trio.run_process(
            ["promtool", "check", "metrics"],
            stdin=text_of(sampler),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )

    assert checked.returncode in (0, 3), checked.stderr  # 3: it would rather see other names, for style
    assert b"error while linting" not in checked.stderr


async def test_given_our_dashboard_when_it_asks_then_only_for_metrics_that_exist(sampler: Sampler) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["query"] for variable in dashboard["templating"]["list"]]
    existing = names_of(text_of(sampler))

    asked = {name for query in queries for name in re.findall(r"\b(?:swapd|process|llamaswap)_\w+", query)}

    assert len(queries) > 15
    assert len(asked) > 15
    assert asked <= existing, asked - existing
