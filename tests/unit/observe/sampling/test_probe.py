"""Drivers that are absent, fail, or hang; the threads are real."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
import trio.testing

from swapd.observe.sampling.probe import Absent, Broken, GpuProbe
from swapd.observe.sampling.readings import GpuDevice, GpuReading, gpu_values

READING = GpuReading(GpuDevice("test", 0, "Test GPU", "Test"), gpu_values({"temp_c": 40}))


class Source:
    """A driver that does what the test says."""

    name = "test"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.may_return = threading.Event()
        self.may_return.set()
        self.calls = 0

    def read(self) -> tuple[GpuReading, ...]:
        self.calls += 1
        self.may_return.wait(10)
        if self.error is not None:
            raise self.error
        return (READING,)

    def accelerators(self) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def reports() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def probe(source: Source, reports: list[tuple[str, str]]) -> GpuProbe:
    return GpuProbe(source, lambda level, text: reports.append((level, text)))


async def test_given_a_driver_that_works_then_it_is_up(probe: GpuProbe, reports: list[Any]) -> None:
    assert await probe.read() == (READING,)
    assert probe.status.ok and probe.status.message == "1 GPU"
    assert reports == []


async def test_given_no_driver_then_nothing_is_said_and_it_is_not_asked_again_at_once(
    probe: GpuProbe, source: Source, reports: list[Any]
) -> None:
    source.error = Absent("no driver")

    assert await probe.read() == () == await probe.read()

    assert source.calls == 1
    assert probe.status.message == "no driver" and not probe.status.ok
    assert reports == []


async def test_given_a_driver_that_hangs_then_it_is_left_alone_until_it_comes_back(
    source: Source, reports: list[tuple[str, str]]
) -> None:
    probe = GpuProbe(source, lambda level, text: reports.append((level, text)), deadline_s=0.1)
    source.may_return.clear()
    with trio.fail_after(5):
        assert await probe.read() == ()
    probe._retry_at = 0.0
    assert await probe.read() == ()
    assert source.calls == 1, "a second call was sent after one that is stuck"
    assert [level for level, _ in reports] == ["warn"]
    assert "has not answered within 0.1 s" in probe.status.message

    source.may_return.set()
    with trio.fail_after(5):
        while probe._is_out:
            await trio.lowlevel.checkpoint()
    probe._deadline_s = 5.0
    assert await probe.read() == (READING,)
    assert reports[1:] == [("info", "GPU readings from test work again")]


async def test_given_a_driver_that_fails_on_and_on_then_it_is_asked_less_and_less_and_said_once(
    probe: GpuProbe, source: Source, reports: list[Any]
) -> None:
    await probe.read()
    source.error = Broken("GPU is lost")
    pauses = []
    for _ in range(6):
        probe._retry_at = 0.0
        await probe.read()
        pauses.append(round(probe._retry_at - trio.current_time()))

    assert pauses == [5, 10, 20, 40, 60, 60]
    assert reports == [("warn", "GPU readings from test have failed: GPU is lost")]
