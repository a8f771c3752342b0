"""httpx over the same client: what goes in and out in httpx's words, and its exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from trio.testing import MockClock

from swapd.http.upstream import Timeouts
from swapd.http.upstream.transport import UpstreamTransport
from tests.unit.http.upstream.scripted import OK, Peer, Request, answering, serving


@asynccontextmanager
async def client(**limits: float) -> AsyncIterator[httpx.AsyncClient]:
    transport = UpstreamTransport(Timeouts(**limits))
    async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
        yield http


async def test_given_a_server_when_asked_by_httpx_then_the_answer_is_httpxs() -> None:
    response = (
        b"HTTP/1.1 201 Made\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n" + b'{"a":1}'
    )
    async with serving(answering(response)) as server, client() as http:
        got = await http.post(f"{server.url}/x?y=1", json={"b": 2})
        again = await http.get(server.url)
        assert (got.status_code, got.reason_phrase, got.json()) == (201, "Made", {"a": 1})
        assert (got.http_version, again.status_code, len(server.peers)) == ("HTTP/1.1", 201, 1)


async def test_given_a_request_when_sent_then_framing_is_said_once() -> None:
    requests: list[Request] = []

    async def script(peer: Peer) -> None:
        while True:
            requests.append(await peer.request())
            await peer.send(OK)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with serving(script) as server, client() as http:
        await http.post(server.url, content=b"body")
        await http.post(server.url, content=pieces())
        await http.post(server.url, content=pieces(), headers={"Content-Length": "6"})
    assert [(each.body, each.headers.get(b"content-length")) for each in requests] == [
        (b"body", b"4"),
        (b"onetwo", None),
        (b"onetwo", b"6"),
    ]
    assert b"transfer-encoding" not in requests[2].headers


async def test_given_a_stream_when_left_early_then_the_upstream_is_told() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await peer.gone()

    async with serving(script) as server, client() as http:
        async with http.stream("GET", server.url) as response:
            assert response.status_code == 200
        with trio.fail_after(5):
            await server.peers[0].left.wait()


async def hang_up(peer: Peer) -> None:
    await peer.request()


async def say_nothing(peer: Peer) -> None:
    await peer.head()
    await trio.sleep_forever()


async def break_off(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")


async def fall_silent(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")
    await trio.sleep_forever()


async def talk_rubbish(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"\x00\x01\x02\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (hang_up, httpx.ReadError),
        (say_nothing, httpx.ReadTimeout),
        (break_off, httpx.ReadError),
        (fall_silent, httpx.ReadTimeout),
        (talk_rubbish, httpx.RemoteProtocolError),
    ],
)
async def test_given_a_failing_upstream_when_asked_then_the_exception_is_httpxs(
    script: object, error: type[httpx.TransportError], autojump_clock: MockClock
) -> None:
    async with serving(script) as server, client() as http:  # type: ignore[arg-type]
        with pytest.raises(error) as failure:
            await http.get(server.url, timeout=5)
        assert failure.value.request.url.host == "127.0.0.1"


async def test_given_an_upstream_that_does_not_read_when_uploading_then_that_is_a_write_timeout(
    autojump_clock: MockClock,
) -> None:
    async with serving(say_nothing) as server, client() as http:
        with pytest.raises(httpx.WriteTimeout):
            await http.post(server.url, content=bytes(64 * 1024 * 1024), timeout=httpx.Timeout(None, write=5))


async def test_given_a_body_whose_source_fails_when_sent_then_its_exception_comes_through() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("the file has gone")

    async with serving(say_nothing) as server, client() as http:
        with pytest.raises(LookupError, match="the file has gone"):
            await http.post(server.url, content=broken())


async def test_given_nobody_listening_when_asked_then_that_is_a_connect_error() -> None:
    async with serving(answering()) as server:
        url = server.url
    async with client() as http:
        with pytest.raises(httpx.ConnectError, match="connection refused"):
            await http.get(url)


async def test_given_https_when_asked_then_it_is_refused() -> None:
    async with client() as http:
        with pytest.raises(httpx.UnsupportedProtocol, match="only http://"):
            await http.get("https://127.0.0.1:1/")
