from __future__ import annotations

import os

import pytest

from swapd.supervision import activation
from swapd.supervision.activation import PassedSocket, SocketRole, passed_sockets


def environ(count: str, names: str | None = None, pid: int | None = None) -> dict[str, str]:
    given = {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": count}
    return given if names is None else {**given, "LISTEN_FDNAMES": names}


@pytest.fixture
def first_fd(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the passed sockets begin in this process, which has its own use for descriptor 3."""
    monkeypatch.setattr(activation, "_FIRST", 900_000)
    return 900_000


def test_given_named_sockets_then_the_names_are_roles(first_fd: int) -> None:
    assert passed_sockets(environ("4", "http:https:swapd.socket:admin")) == (
        PassedSocket(first_fd, SocketRole.HTTP),
        PassedSocket(first_fd + 1, SocketRole.HTTPS),
        PassedSocket(first_fd + 2, SocketRole.UNSAID),
        PassedSocket(first_fd + 3, SocketRole.ADMIN),
    )


def test_given_fewer_names_than_sockets_then_the_rest_is_unsaid(first_fd: int) -> None:
    assert [each.role for each in passed_sockets(environ("2"))] == [SocketRole.UNSAID, SocketRole.UNSAID]


def test_given_a_passed_socket_then_no_child_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    try:
        os.set_inheritable(reading, True)
        monkeypatch.setattr(activation, "_FIRST", reading)

        passed_sockets(environ("1"))

        assert not os.get_inheritable(reading)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "environment",
    [{}, environ("1", pid=1), environ("0"), environ(""), environ("-1"), {"LISTEN_FDS": "1"}],
)
def test_given_sockets_for_nobody_or_somebody_else_then_there_are_none(environment: dict[str, str]) -> None:
    assert passed_sockets(environment) == ()
