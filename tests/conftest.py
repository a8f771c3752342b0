"""The fixtures that all tests share come from the public test kit; here is only what bounds our own run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

pytest_plugins = ["swapd.testing.fixtures"]

_TIME_LIMIT_S = 240
"""Real seconds. No test comes near it, on a busy machine either. It stops one that would never end."""


@pytest.fixture(autouse=True)
def _time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    def fail(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{request.node.nodeid} has not ended within {_TIME_LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(_TIME_LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True, scope="session")
def _state_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A daemon that a test starts by hand shares its state directory with no other, and with none at work."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    for name in ("STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"):
        os.environ.pop(name, None)
