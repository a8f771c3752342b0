"""The newest reading as Prometheus families, under the names that llama-swap's dashboard knows, and ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from swapd.observe.sampling.readings import GPU_FIELDS, MIB, SYSTEM_FIELDS, GpuReading, SystemReading
from swapd.observe.sampling.sampler import Sampler

_MEMORY: Final = (
    ("llamaswap_memory_total_bytes", "Memory of the machine.", "mem_total_mb"),
    ("llamaswap_memory_used_bytes", "Memory in use.", "mem_used_mb"),
    ("llamaswap_memory_free_bytes", "Memory that nobody uses, not even as a cache.", "mem_free_mb"),
    ("llamaswap_swap_total_bytes", "Swap space.", "swap_total_mb"),
    ("llamaswap_swap_used_bytes", "Swap space in use.", "swap_used_mb"),
)
_GPU: Final = (
    ("llamaswap_gpu_temperature_celsius", "Temperature of the GPU.", "temp_c", 1),
    ("llamaswap_gpu_vram_temperature_celsius", "Temperature of the GPU's memory.", "vram_temp_c", 1),
    ("llamaswap_gpu_util_percent", "Share of time in which the GPU worked.", "gpu_util_pct", 1),
    ("llamaswap_gpu_memory_util_percent", "Share of the GPU's memory in use.", "mem_util_pct", 1),
    ("llamaswap_gpu_memory_used_bytes", "Memory of the GPU in use.", "mem_used_mb", MIB),
    ("llamaswap_gpu_memory_total_bytes", "Memory of the GPU.", "mem_total_mb", MIB),
    ("llamaswap_gpu_fan_speed_percent", "Speed of the GPU's fan.", "fan_speed_pct", 1),
    ("llamaswap_gpu_power_draw_watts", "Power that the GPU draws.", "power_draw_w", 1),
)


def machine_families(sampler: Sampler, *, compat: bool) -> Iterator[Metric]:
    """What the machine does. A family is absent while nothing is known for it; with `compat` those of
    llama-swap are there too."""
    tick = sampler.history.newest
    if tick is not None and compat:
        yield from _system(tick.system)
        yield from _gpus(dict(zip(tick.ids, tick.gpus, strict=True)))
    yield _model_memory(sampler)
    probes = GaugeMetricFamily(
        "swapd_gpu_probe_up", "1 if this way to look at GPUs has found some and works.", labels=("source",)
    )
    for probe in sampler.probes():
        probes.add_metric((probe.source,), int(probe.ok))
    yield probes


def _system(reading: SystemReading) -> Iterator[Metric]:
    known = dict(zip(SYSTEM_FIELDS, reading.values, strict=True))
    cores = GaugeMetricFamily("llamaswap_cpu_util_percent", "How busy a core is.", labels=("core",))
    for number, value in enumerate(reading.cores):
        cores.add_metric((str(number),), value)
    yield cores
    for name, text, field in _MEMORY:
        yield GaugeMetricFamily(name, text, value=round(known[field]) * MIB)
    load = GaugeMetricFamily("llamaswap_load_average", "Load of the machine.", labels=("interval",))
    for interval in ("1m", "5m", "15m"):
        load.add_metric((interval,), known[f"load_avg_{interval[:-1]}"])
    yield load
    if reading.interfaces:
        traffic = CounterMetricFamily(
            "llamaswap_network_bytes",
            "Bytes that have passed a network interface.",
            labels=("interface", "direction"),
        )
        for number, name in enumerate(reading.interfaces):
            traffic.add_metric((name, "recv"), reading.traffic[2 * number])
            traffic.add_metric((name, "sent"), reading.traffic[2 * number + 1])
        yield traffic


def _gpus(gpus: dict[int, GpuReading]) -> Iterator[Metric]:
    for name, text, field, unit in _GPU:
        family = Metric(name, text, "gauge")
        for id, gpu in sorted(gpus.items()):
            value = gpu.values[GPU_FIELDS.index(field)]
            if not math.isnan(value):
                family.add_sample(name, _labels(id, gpu), round(value) * unit if unit == MIB else value)
        if family.samples:
            yield family


def _labels(id: int, gpu: GpuReading) -> dict[str, str]:
    labels = {"id": str(id), "name": gpu.device.name}
    return {**labels, "uuid": gpu.device.uuid} if gpu.device.uuid else labels


def _model_memory(sampler: Sampler) -> Metric:
    name = "swapd_model_memory_bytes"
    family = Metric(name, "Memory that a model's server holds.", "gauge")
    for model, held in sorted(sampler.models.items()):
        family.add_sample(name, {"model": model, "kind": "rss"}, round(held.rss_mb * MIB))
        for gpu, mb in sorted((held.vram_mb or {}).items()):
            labels = {"model": model, "kind": "vram", "gpu": str(gpu)}
            family.add_sample(name, labels, round(mb * MIB))
    return family
