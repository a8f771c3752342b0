"""Fixtures for tests with real processes under a launcher of this very process."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

import pytest

from swapd.supervision.subreaper import become_subreaper
from tests.real.live_instance import Stage, zombies

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def subreaper() -> Iterator[bool]:
    """This process adopts orphans while the test runs."""
    assert become_subreaper()
    yield True
    zombies()  # in the daemon that is the work of its reaper
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture(params=["subreaper", "no subreaper"])
def stage(request: pytest.FixtureRequest) -> Stage:
    """A launcher, once in a process that adopts orphans and once in one that does not."""
    adopts_orphans = request.param == "subreaper" and request.getfixturevalue("subreaper")
    return Stage(adopts_orphans=bool(adopts_orphans))
