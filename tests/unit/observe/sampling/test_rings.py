"""What is kept of readings, and for how long."""

from __future__ import annotations

import math
from array import array

from swapd.observe.sampling.readings import (
    GPU_FIELDS,
    SYSTEM_FIELDS,
    GpuDevice,
    GpuReading,
    SystemReading,
    gpu_values,
    system_values,
)
from swapd.observe.sampling.rings import History, Resolution, SummaryRing, Tick

MINUTE = 60_000


def tick(ts_ms: int, gpus: int = 0, cores: int = 2) -> Tick:
    system = SystemReading(ts_ms, system_values({"load_avg_1": 1}), array("f", [1.5] * cores), (), array("Q"))
    readings = tuple(
        GpuReading(GpuDevice("test", i, "G", "T"), gpu_values({"temp_c": 40.0 + i})) for i in range(gpus)
    )
    return Tick(ts_ms, system, readings, tuple(range(gpus)))


def test_given_readings_of_two_minutes_then_each_minute_has_lowest_mean_and_highest() -> None:
    ring = SummaryRing(Resolution(MINUTE, 60 * MINUTE), 2)
    for second, value in ((0, 1.0), (20, 2.0), (40, 6.0), (60, 9.0)):
        ring.add(second * 1000, array("d", [value, math.nan]))

    first, second_minute = ring.summaries(-1)

    assert (first.ts_ms, first.low[0], first.mean[0], first.high[0]) == (0, 1, 3, 6)
    assert (second_minute.ts_ms, second_minute.mean[0]) == (MINUTE, 9)
    assert math.isnan(first.low[1]) and math.isnan(first.mean[1])
    assert [each.ts_ms for each in ring.summaries(0)] == [MINUTE]


def test_given_a_week_of_readings_then_an_hour_a_day_and_a_week_are_kept() -> None:
    history = History(len(SYSTEM_FIELDS), len(GPU_FIELDS))
    for minute in range(8 * 24 * 60):
        history.add(tick(minute * MINUTE))

    assert len(history.ticks) == 60
    assert len(list(history.system["1m"].summaries(-1))) == 24 * 60 + 1
    assert len(list(history.system["10m"].summaries(-1))) == 7 * 24 * 6 + 1


def test_given_a_new_interval_then_the_hour_stays_an_hour() -> None:
    history = History(len(SYSTEM_FIELDS), len(GPU_FIELDS))
    for second in (*range(0, 3600, 5), *range(3600, 5400, 30)):
        history.add(tick(second * 1000))

    assert history.ticks[0].ts_ms == (5370 - 3600 + 5) * 1000


def test_given_an_unknown_value_then_old_readers_get_0_and_new_ones_are_told() -> None:
    reading = GpuReading(
        GpuDevice("amd", 0, "G", "AMD"), gpu_values({"mem_used_mb": 512, "mem_total_mb": 2048})
    )

    shown = reading.as_json(3, 0)

    assert shown["id"] == 3 and shown["mem_util_pct"] == 25
    assert shown["temp_c"] == 0 and shown["sm_clock_mhz"] is None
    assert shown["unknown"] == ["temp_c", "vram_temp_c", "gpu_util_pct", "fan_speed_pct", "power_draw_w"]
