"""The load of the processors, whichever thread looks."""

from __future__ import annotations

import threading
from collections import namedtuple
from typing import Any

import psutil
import pytest

from swapd.observe.sampling.system import SystemSource

Times = namedtuple("Times", "user system idle iowait guest")


def test_given_looks_from_several_threads_when_read_then_each_counts_from_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter(
        [
            [Times(10, 5, 85, 0, 2), Times(0, 0, 100, 0, 0)],
            [Times(12, 6, 92, 0, 4), Times(0, 0, 105, 5, 0)],
            [Times(22, 6, 92, 0, 4), Times(10, 0, 105, 5, 0)],
        ]
    )
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(looks))
    source = SystemSource()
    readings: list[Any] = []

    for look in (
        source.prime,
        lambda: readings.append(source.read()),
        lambda: readings.append(source.read()),
    ):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(5)

    # The second look: 3 s busy of 10 s, the guest's two being part of `user`; waiting for a disk is idleness.
    assert list(readings[0].cores) == [30.0, 0.0]
    assert list(readings[1].cores) == [100.0, 100.0]
