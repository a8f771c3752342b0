from __future__ import annotations

import os

import pytest

from swapd.supervision import activation
from swapd.supervision.activation import passed_descriptors


def environ(count: str, pid: int | None = None) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": count}


@pytest.fixture
def first_fd(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the passed sockets begin in this process, which has its own use for descriptor 3."""
    monkeypatch.setattr(activation, "_FIRST", 900_000)
    return 900_000


def test_given_passed_sockets_then_they_are_numbered_from_the_first(first_fd: int) -> None:
    assert passed_descriptors(environ("3")) == (first_fd, first_fd + 1, first_fd + 2)


def test_given_a_passed_socket_then_no_child_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    try:
        os.set_inheritable(reading, True)
        monkeypatch.setattr(activation, "_FIRST", reading)

        passed_descriptors(environ("1"))

        assert not os.get_inheritable(reading)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "environment",
    [{}, environ("1", pid=1), environ("0"), environ(""), environ("-1"), environ("²"), {"LISTEN_FDS": "1"}],
)
def test_given_sockets_for_nobody_or_somebody_else_then_there_are_none(environment: dict[str, str]) -> None:
    assert passed_descriptors(environment) == ()
