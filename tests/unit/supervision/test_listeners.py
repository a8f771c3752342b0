"""`--listen` values: what they mean, and the sockets they become."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swapd.supervision.listeners import (
    InheritedSocket,
    ListenAddress,
    Listener,
    ListenError,
    ListenSyntaxError,
    PassedSockets,
    TcpAddress,
    UnixAddress,
    bind_all,
    close_all,
    parse_listen,
)
from swapd.supervision.port_holder import find_port_holder


@contextmanager
def bound(*addresses: ListenAddress, environ: dict[str, str] | None = None) -> Iterator[list[Listener]]:
    listeners = bind_all(addresses, environ or {})
    try:
        yield listeners
    finally:
        close_all(listeners)


def port_of(listener: Listener) -> int:
    return int(listener.sock.getsockname()[1])


# --- understanding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("localhost:0", TcpAddress("localhost", 0)),
        (":8080", TcpAddress("", 8080)),
        ("0.0.0.0:80", TcpAddress("0.0.0.0", 80)),
        ("[::1]:8080", TcpAddress("::1", 8080)),
        ("[::]:65535", TcpAddress("::", 65535)),
        ("unix:/run/swapd.sock", UnixAddress("/run/swapd.sock", 0o660)),
        ("unix:/run/swapd.sock,mode=0600", UnixAddress("/run/swapd.sock", 0o600)),
        ("unix:/run/swapd.sock,mode=777", UnixAddress("/run/swapd.sock", 0o777)),
        ("unix:///run/swapd.sock", UnixAddress("/run/swapd.sock", 0o660)),
        ("fd://3", InheritedSocket(3)),
        ("systemd", PassedSockets()),
    ],
)
def test_given_each_documented_form_when_parsed_then_it_is_understood(
    value: str, address: ListenAddress
) -> None:
    assert parse_listen(value) == address


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("", "write host:port"),
        ("8080", "write host:port"),
        ("localhost", "write host:port"),
        ("::1:8080", "write host:port"),
        ("http://localhost:8080", "write host:port"),
        ("my host:80", "write host:port"),
        ("localhost:", "'' is not a number from 0 to 65535"),
        ("localhost:http", "'http' is not a number"),
        ("localhost:65536", "not a number from 0 to 65535"),
        ("localhost:-1", "'-1' is not a number"),
        ("localhost:８０", "is not a number"),
        ("[nonsense]:80", "nonsense"),
        ("unix:relative.sock", "must be absolute"),
        ("unix:/x,mode=999", "'mode=999' is no option"),
        ("unix:/x,owner=me", "'owner=me' is no option"),
        ("fd://", "is not a number"),
        ("fd://x", "is not a number"),
    ],
)
def test_given_nonsense_when_parsed_then_the_error_names_the_value_and_what_is_wrong(
    value: str, complaint: str
) -> None:
    with pytest.raises(ListenSyntaxError) as raised:
        parse_listen(value)

    assert repr(value) in str(raised.value)
    assert complaint in f"{raised.value} {raised.value.hint}"


# --- TCP ----------------------------------------------------------------------------------------------


def test_given_a_loopback_address_when_bound_then_it_listens_without_blocking_and_is_local_only() -> None:
    with bound(parse_listen("127.0.0.1:0")) as [listener]:
        assert listener.local_only
        assert not listener.all_interfaces
        assert listener.sock.getblocking() is False
        assert not listener.sock.get_inheritable()
        assert listener.url("http") == f"http://127.0.0.1:{port_of(listener)}"
        with socket.create_connection(("127.0.0.1", port_of(listener))):
            accepted, _ = listener.sock.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_given_all_interfaces_when_bound_then_ipv4_reaches_it_and_it_is_not_local_only() -> None:
    with bound(parse_listen(":0")) as [listener]:
        assert not listener.local_only
        assert listener.all_interfaces
        assert listener.place == f"127.0.0.1:{port_of(listener)}"
        socket.create_connection(("127.0.0.1", port_of(listener))).close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_given_all_interfaces_when_bound_then_ipv6_reaches_it_too() -> None:
    with bound(parse_listen(":0")) as [listener]:
        socket.create_connection(("::1", port_of(listener))).close()


def test_given_a_name_with_several_addresses_when_bound_then_all_of_them_have_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 0)) for n in (1, 2, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with bound(TcpAddress("owls", 0)) as listeners:
        assert [listener.place for listener in listeners] == [
            f"127.0.0.1:{port_of(listeners[0])}",
            f"127.0.0.2:{port_of(listeners[0])}",
        ]


def test_given_a_second_address_that_the_machine_lacks_when_bound_then_the_first_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with bound(TcpAddress("owls", 0)) as listeners:
        assert len(listeners) == 1


def test_given_an_address_in_use_when_bound_then_the_error_names_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ListenError) as raised:
            bind_all([TcpAddress("127.0.0.1", port)])

    name = Path("/proc/self/comm").read_text().strip()
    assert str(raised.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use by pid {os.getpid()} ({name})"
    )
    assert "--listen" in raised.value.hint


def test_given_an_address_in_use_by_somebody_hidden_when_bound_then_the_error_does_without_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swapd.supervision.listeners.find_port_holder", lambda port: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(
            ListenError, match=rf"^cannot listen on 127.0.0.1:{port}: Address already in use$"
        ):
            bind_all([TcpAddress("127.0.0.1", port)])


def test_given_an_address_of_another_machine_when_bound_then_the_hint_says_so() -> None:
    with pytest.raises(ListenError) as raised:
        bind_all([TcpAddress("192.0.2.1", 8080)])

    assert "no such address" in raised.value.hint


def test_given_a_name_nobody_knows_when_bound_then_the_error_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(ListenError, match="cannot listen on owls:80: Name or service not known"):
        bind_all([TcpAddress("owls", 80)])


def test_given_two_addresses_when_the_second_fails_then_the_first_is_free_again(tmp_path: Path) -> None:
    path = tmp_path / "swapd.sock"

    with pytest.raises(ListenError):
        bind_all([UnixAddress(str(path), 0o660), TcpAddress("192.0.2.1", 1)])

    assert not path.exists()


# --- unix sockets -------------------------------------------------------------------------------------


def test_given_a_unix_path_when_bound_then_the_socket_has_the_mode_and_goes_with_the_listener(
    tmp_path: Path,
) -> None:
    path = tmp_path / "swapd.sock"

    with bound(parse_listen(f"unix:{path},mode=0600")) as [listener]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert listener.local_only
        assert listener.url("http") == f"unix:{path}"

    assert not path.exists()


def test_given_a_socket_left_by_a_dead_daemon_when_bound_then_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "swapd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with bound(UnixAddress(str(path), 0o660)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_given_a_socket_somebody_listens_on_when_bound_then_it_stays_theirs(tmp_path: Path) -> None:
    path = tmp_path / "swapd.sock"

    with bound(UnixAddress(str(path), 0o660)):
        with pytest.raises(ListenError, match="another process listens there"):
            bind_all([UnixAddress(str(path), 0o660)])
        assert path.exists()


def test_given_a_file_at_the_path_when_bound_then_it_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(ListenError, match="not a socket"):
        bind_all([UnixAddress(str(path), 0o660)])

    assert path.read_text() == "data"


def test_given_a_directory_that_does_not_exist_when_bound_then_the_error_says_why(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="No such file or directory"):
        bind_all([UnixAddress(str(tmp_path / "missing" / "swapd.sock"), 0o660)])


# --- sockets from outside -----------------------------------------------------------------------------


def test_given_an_inherited_socket_when_adopted_then_it_is_described_like_our_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.set_inheritable(True)
        port = opened.getsockname()[1]
        fd = os.dup(opened.fileno())

    with bound(InheritedSocket(fd)) as [listener]:
        assert listener.url("https") == f"https://127.0.0.1:{port}"
        assert listener.sock.getblocking() is False
        assert not os.get_inheritable(fd)


def test_given_a_descriptor_that_does_not_listen_when_adopted_then_it_is_refused_and_left_open() -> None:
    with socket.socket() as opened:
        with pytest.raises(ListenError, match="not a listening socket"):
            bind_all([InheritedSocket(opened.fileno())])

        assert opened.getsockname()


def test_given_a_descriptor_that_is_no_socket_when_adopted_then_the_error_says_so() -> None:
    read_end, write_end = os.pipe()
    try:
        with pytest.raises(ListenError, match=f"cannot listen on descriptor {read_end}: .*non-socket"):
            bind_all([InheritedSocket(read_end)])
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({}, "none were passed"),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, "none were passed"),
        ({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}, "none were passed"),
    ],
)
def test_given_no_passed_sockets_when_asked_for_then_the_error_says_what_is_missing(
    environ: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ListenError, match=complaint):
        bind_all([PassedSockets()], environ)


def test_given_passed_sockets_when_asked_for_then_all_of_them_are_adopted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fds = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as opened:
            fds.append(os.dup(opened.fileno()))
    monkeypatch.setattr("swapd.supervision.activation._FIRST", min(fds))
    assert max(fds) == min(fds) + 1

    with bound(PassedSockets(), environ={"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}) as listeners:
        assert [listener.sock.fileno() for listener in listeners] == sorted(fds)


# --- who holds a port ---------------------------------------------------------------------------------


def test_given_a_free_port_when_its_holder_is_looked_for_then_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert find_port_holder(port) is None


def test_given_a_port_that_is_only_connected_from_when_its_holder_is_looked_for_then_there_is_none() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert find_port_holder(client.getsockname()[1]) is None
        holder = find_port_holder(server.getsockname()[1])

    assert holder is not None
    assert holder.pid == os.getpid()
