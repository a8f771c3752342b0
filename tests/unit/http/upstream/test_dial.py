"""Finding the upstream: addresses, localhost in both families, names, refusals and silence."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from swapd.http.upstream import BaseURL, ConnectFailed, ConnectTimedOut, Timeouts, UpstreamPool
from swapd.http.upstream.dial import NAME_CACHE_S
from tests.unit.http.upstream.scripted import answering, answering_once, serving


async def fetch(url: str) -> bytes:
    pool = UpstreamPool(BaseURL.parse(url))
    response = await pool.exchange(b"GET", b"/", [(b"host", b"x")])
    pool.close()
    return response.take()


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port of which it is certain that nobody listens on it: it is bound, and that is all."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_given_a_server_on_one_family_when_localhost_is_asked_then_it_is_found(host: str) -> None:
    async with serving(answering(), host=host) as server:
        assert await fetch(f"http://localhost:{server.port}") == b"ok"
        assert await fetch(f"http://LOCALHOST.:{server.port}") == b"ok"


async def test_given_an_ipv6_address_when_asked_then_it_is_found() -> None:
    async with serving(answering(), host="::1") as server:
        assert await fetch(f"http://[::1]:{server.port}") == b"ok"


async def test_given_localhost_when_asked_again_then_the_family_that_answered_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from swapd.http.upstream import dial

    tried = []
    connect = dial._connect

    async def spy(endpoint: dial._Endpoint) -> socket.socket:
        tried.append(endpoint.family)
        return await connect(endpoint)

    monkeypatch.setattr(dial, "_connect", spy)
    async with serving(answering_once(), host="::1") as server:
        pool = UpstreamPool(BaseURL.parse(f"http://localhost:{server.port}"))
        for _ in range(2):
            await pool.exchange(b"GET", b"/", [])
        pool.close()
    assert tried == [socket.AF_INET, socket.AF_INET6, socket.AF_INET6]


async def test_given_nobody_listening_when_asked_then_it_is_refused_and_nothing_was_sent(
    unused_port: int,
) -> None:
    with pytest.raises(ConnectFailed, match=rf"127\.0\.0\.1:{unused_port}: connection refused") as failure:
        await fetch(f"http://127.0.0.1:{unused_port}")
    assert not failure.value.request_sent


async def test_given_nobody_listening_when_localhost_is_asked_then_both_addresses_are_named(
    unused_port: int,
) -> None:
    with pytest.raises(ConnectFailed, match=rf"127\.0\.0\.1:{unused_port}: .*; \[::1\]:{unused_port}: "):
        await fetch(f"http://localhost:{unused_port}")


class Names(trio.abc.HostnameResolver):
    """A name service that knows one name."""

    def __init__(self) -> None:
        self.asked = 0

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        self.asked += 1
        if host != b"gpu.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        raise NotImplementedError


async def test_given_a_name_when_asked_then_it_is_looked_up_and_remembered_for_a_while(
    mock_clock: MockClock,
) -> None:
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    async with serving(answering_once()) as server:
        pool = UpstreamPool(BaseURL.parse(f"http://gpu.example:{server.port}"))
        for _ in range(3):
            await pool.exchange(b"GET", b"/", [])
        assert names.asked == 1
        mock_clock.jump(NAME_CACHE_S + 1)
        await pool.exchange(b"GET", b"/", [])
        assert names.asked == 2
        pool.close()


async def test_given_a_name_that_moved_when_its_old_address_refuses_then_it_is_looked_up_again() -> None:
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    async with serving(answering_once()) as server:
        pool = UpstreamPool(BaseURL.parse(f"http://gpu.example:{server.port}"))
        await pool.exchange(b"GET", b"/", [])
        pool.close()
    with pytest.raises(ConnectFailed, match="connection refused"):
        await pool.exchange(b"GET", b"/", [])
    assert names.asked == 2


async def test_given_an_unknown_name_when_asked_then_the_error_names_it() -> None:
    trio.socket.set_custom_hostname_resolver(Names())
    with pytest.raises(ConnectFailed, match=r"nowhere\.example:80: name or service not known"):
        await fetch("http://nowhere.example")


async def test_given_an_upstream_that_does_not_answer_when_the_time_is_over_then_connecting_fails(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A listener whose queue is full lets further connections wait, as an unreachable host would.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        pool = UpstreamPool(BaseURL.parse(f"http://127.0.0.1:{address[1]}"), Timeouts(connect_s=30))
        began = trio.current_time()
        with pytest.raises(ConnectTimedOut, match="did not answer within 30 s"):
            await pool.exchange(b"GET", b"/", [])
        assert trio.current_time() - began == pytest.approx(30)
        for filler in fillers:
            filler.close()
