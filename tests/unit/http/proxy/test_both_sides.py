"""The proxy between real sockets: our own server in front of it, a scripted upstream behind it."""

from __future__ import annotations

import hashlib
import random
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from attrs import define
from trio.testing import wait_all_tasks_blocked

from swapd.http.record import RECORD, RequestRecord
from swapd.http.server import Receive, Scope, Send, ServerSettings, serve
from swapd.http.upstream.transport import UpstreamTransport
from swapd.nursery.events import Revocation
from tests.unit.http.proxy.fakes import World
from tests.unit.http.proxy.test_proxy import Echo, begin_and_wait, wait_for_good, world
from tests.unit.http.upstream.scripted import Peer, Script, Server

MB = 1024 * 1024
CHAT = b'{"model":"m1"}'


@define(eq=False)
class Site:
    """A running proxy: where it listens, and what is behind it."""

    address: tuple[str, int]
    world: World
    upstream: Server

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream(*self.address)

    async def send(self, head: bytes, body: bytes = CHAT) -> trio.SocketStream:
        """A new connection with one request on it."""
        stream = await self.connect()
        await stream.send_all(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        return stream


POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def site(*scripts: Script) -> AsyncIterator[Site]:
    """A proxy behind swapd's own server; both are gone at the end, and no lease is left."""
    async with world(*scripts) as (w, upstream):

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[RECORD] = RequestRecord()
            through = scope["path"].startswith("/upstream/")
            await (w.proxy.passthrough if through else w.proxy.models)(scope, receive, send)

        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        stopping = trio.Event()
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                await serve(app, [listener], ServerSettings(), stopping=stopping, task_status=task_status)

            await nursery.start(run)
            yield Site(address, w, upstream)
            stopping.set()


async def read_until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = await stream.receive_some(65536)
        assert piece, data
        data += piece
    return data


async def rest_of(stream: trio.SocketStream) -> bytes:
    """Everything up to the end of the connection, however it ends."""
    data = b""
    try:
        while piece := await stream.receive_some(65536):
            data += piece
    except trio.BrokenResourceError:
        pass
    return data


async def test_given_keep_alive_on_both_sides_when_asked_often_then_two_connections_are_enough() -> None:
    async with site(Echo()) as s, httpx.AsyncClient(transport=UpstreamTransport()) as http:
        for _ in range(5):
            response = await http.post(
                f"{s.url}/v1/chat/completions", content=CHAT, headers={"content-type": "application/json"}
            )
            assert (response.status_code, response.content) == (200, b"ok")
        assert len(s.upstream.peers) == 1


@pytest.mark.parametrize("script", [wait_for_good, begin_and_wait])
async def test_given_a_client_that_disconnects_when_served_then_the_upstream_is_freed(script: Script) -> None:
    async with site(script) as s:
        stream = await s.send(POST)
        await wait_all_tasks_blocked(0.02)
        assert len(s.world.manager.held) == 1
        await stream.aclose()
        with trio.fail_after(5):
            await s.upstream.peers[0].left.wait()
        assert s.world.manager.held == []


async def test_given_a_client_that_disconnects_when_its_model_is_loading_then_nothing_is_granted() -> None:
    async with site(Echo()) as s:
        s.world.manager.ready = False
        stream = await s.send(POST)
        await wait_all_tasks_blocked(0.02)
        await stream.aclose()
        await wait_all_tasks_blocked(0.02)
        s.world.manager.open()
        await wait_all_tasks_blocked(0.02)
        assert (s.world.manager.granted, s.upstream.peers) == (0, [])


async def test_given_a_client_that_disconnects_in_its_upload_when_served_then_the_upstream_is_freed() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async with site(script) as s:
        stream = await s.connect()
        await stream.send_all(
            b"PUT /upstream/m1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\nstart"
        )
        await wait_all_tasks_blocked(0.02)
        assert len(s.world.manager.held) == 1
        await stream.aclose()
        with trio.fail_after(5):
            await s.upstream.peers[0].left.wait()


@pytest.mark.parametrize("why", [None, Revocation.CANCELLED, Revocation.SHUTTING_DOWN])
async def test_given_a_broken_stream_when_relayed_then_no_client_takes_it_for_whole(
    why: Revocation | None,
) -> None:
    async def script(peer: Peer) -> None:
        await begin_and_wait(peer) if why else await break_off(peer)

    async def break_off(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await go_on.wait()

    go_on = trio.Event()
    async with site(script) as s:
        stream = await s.send(POST)
        received = await read_until(stream, b"one\r\n")
        if why:
            s.world.manager.revoke(why)
        go_on.set()
        received += await rest_of(stream)
        assert received.endswith(b"3\r\none\r\n")
        await stream.aclose()


async def test_given_large_bodies_when_they_pass_both_ways_then_every_byte_arrives() -> None:
    body = random.Random(7).randbytes(10 * MB)

    async def script(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
        await peer.send(request.body)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    async with site(script) as s, httpx.AsyncClient(transport=UpstreamTransport()) as http:
        for content in (body, pieces()):
            response = await http.put(f"{s.url}/upstream/m1/x", content=content)
            assert hashlib.sha256(response.content).digest() == hashlib.sha256(body).digest()


async def test_given_an_upload_when_the_upstream_echoes_it_at_once_then_nothing_deadlocks() -> None:
    piece = b"0123456789abcdef" * 4096

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * 200))
        for _ in range(200):
            await peer.send(await peer.exactly(len(piece)))

    async with site(script) as s:
        stream = await s.connect()

        async def upload() -> None:
            size = len(piece) * 200
            await stream.send_all(
                b"PUT /upstream/m1/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size
            )
            for _ in range(200):
                await stream.send_all(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            received = b""
            while received.count(b"0123456789abcdef") < 200 * 4096:
                received += await stream.receive_some(MB)
        await stream.aclose()


async def test_given_a_client_that_stops_reading_when_much_is_sent_then_memory_stays_where_it_was() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send(b"100000\r\n" + chunk + b"\r\n")

    chunk = bytes(MB)
    async with site(script) as s:
        streams = [await s.send(POST) for _ in range(3)]
        await wait_all_tasks_blocked(0.1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        streams += [await s.send(POST) for _ in range(10)]
        await wait_all_tasks_blocked(0.1)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024
        for stream in streams:
            await stream.aclose()


async def test_given_trailers_when_the_client_takes_them_then_they_arrive() -> None:
    response = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    async with site(Echo(response)) as s:
        stream = await s.send(POST + b"TE: trailers\r\nConnection: close, te\r\n")
        received = await rest_of(stream)
        assert received.endswith(b"2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n")
        await stream.aclose()


async def test_given_a_body_over_the_limit_when_announced_then_the_answer_comes_without_it() -> None:
    async with site(Echo()) as s:
        stream = await s.connect()
        await stream.send_all(POST + b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")
        received = await rest_of(stream)
        assert received.startswith(b"HTTP/1.1 413 ")
        assert b"100 Continue" not in received
        await stream.aclose()


async def test_given_a_client_that_waits_to_be_told_when_it_may_send_then_it_is_told() -> None:
    async with site(Echo()) as s:
        stream = await s.connect()
        await stream.send_all(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CHAT))
        assert await read_until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(CHAT)
        assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")
        await stream.aclose()
