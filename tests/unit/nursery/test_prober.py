"""One probe against servers that answer well, badly, slowly or not at all. Real sockets on 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from swapd.nursery.prober import HttpProber, ProbeKind, ProbeResult, check_url, is_loopback

Answer = Callable[[trio.SocketStream], Awaitable[None]]
GENEROUS_S = 10.0


@asynccontextmanager
async def serving(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server on a free port that treats each connection with `answer`."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host=host))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def answering(*pieces: bytes) -> Answer:
    """Reads the request, writes the pieces as one segment each, and closes."""

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        for piece in pieces:
            await stream.send_all(piece)

    return answer


async def probe(
    port: int, path: str = "/health", host: str = "127.0.0.1", timeout_s: float = GENEROUS_S
) -> ProbeResult:
    return await HttpProber().probe(f"http://{host}:{port}{path}", timeout_s)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("pieces", "kind", "detail"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], ProbeKind.READY, "status 200"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"o", b"k"], ProbeKind.READY, "status 200"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], ProbeKind.READY, "status 200"),
        ([b"HTTP/1.0 200 \r\n\r\nuntil the end"], ProbeKind.READY, "status 200"),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000], ProbeKind.READY, "status 200"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"], ProbeKind.READY, "status 200"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], ProbeKind.BAD_STATUS, "status 204"),
        ([b"HTTP/1.1 503 Loading\r\n\r\n"], ProbeKind.BAD_STATUS, "status 503"),
        (
            [b"HTTP/1.1 302 Found\r\nLocation: /ready\r\n\r\n"],
            ProbeKind.BAD_STATUS,
            "status 302 (redirects are not followed)",
        ),
        (
            [b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
            ProbeKind.BAD_STATUS,
            "status 101",
        ),
        ([b"SSH-2.0-OpenSSH\r\n"], ProbeKind.ERROR, "the answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le"], ProbeKind.ERROR, "connection closed without an answer"),
        ([], ProbeKind.ERROR, "connection closed without an answer"),
    ],
)  # fmt: skip
async def test_what_a_server_answers(pieces: list[bytes], kind: ProbeKind, detail: str) -> None:
    async with serving(answering(*pieces)) as port:
        assert await probe(port) == ProbeResult(kind, detail)


async def test_given_nobody_listens_then_refused(closed_port: int) -> None:
    assert await probe(closed_port) == ProbeResult(ProbeKind.REFUSED, "connection refused")


async def test_given_a_server_that_never_answers_then_hung() -> None:
    async def silence(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.receive_some(65536)

    async with serving(silence) as port:
        assert await probe(port, timeout_s=0.01) == ProbeResult(ProbeKind.HUNG, "no answer within 0.01 s")


async def test_given_a_body_without_end_then_the_status_counts() -> None:
    async def stream_forever(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await stream.receive_some(65536)

    async with serving(stream_forever) as port:
        assert (await probe(port)).kind is ProbeKind.READY


async def test_given_a_full_backlog_then_hung() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(("127.0.0.1", port))
            result = await probe(port, timeout_s=0.05)
        finally:
            for each in waiting:
                each.close()

    assert result == ProbeResult(ProbeKind.HUNG, "no connection within 0.05 s")


async def test_the_request_names_path_query_and_host() -> None:
    received = bytearray()

    async def note(stream: trio.SocketStream) -> None:
        received.extend(await stream.receive_some(65536))

    async with serving(note) as port:
        await probe(port, "/base/health?deep=1&n=a b")

    head = received.decode().split("\r\n")
    assert head[0] == "GET /base/health?deep=1&n=a%20b HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in head
    assert "Connection: close" in head


@pytest.mark.parametrize("listen_on", ["127.0.0.1", "::1"])
async def test_localhost_is_tried_on_both_addresses(listen_on: str) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n"), host=listen_on) as port:
        assert (await probe(port, host="localhost")).kind is ProbeKind.READY


async def test_given_plain_http_behind_https_then_an_error_with_its_reason() -> None:
    async with serving(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        result = await HttpProber().probe(f"https://127.0.0.1:{port}/health", GENEROUS_S)

    assert result.kind is ProbeKind.ERROR
    assert "SSL" in result.detail


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "http://", "http://127.0.0.1:port/", "http://[::1/", "nonsense"]
)
async def test_given_a_bad_url_then_an_error(url: str) -> None:
    assert (await HttpProber().probe(url, GENEROUS_S)).kind is ProbeKind.ERROR


async def test_given_a_connection_from_a_port_to_itself_then_refused_and_the_port_is_free(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trio.socket.socket

    def bound_to_the_target(*args: int) -> trio.socket.SocketType:
        """What the kernel does once in many thousand attempts: take the target port as the source."""
        connection = real(*args)
        connection._sock.bind(("127.0.0.1", closed_port))  # type: ignore[attr-defined]
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(trio.socket, "socket", bound_to_the_target)
        result = await probe(closed_port)

    assert result.kind is ProbeKind.REFUSED
    with socket.socket() as server:
        server.bind(("127.0.0.1", closed_port))


async def test_given_a_cancellation_then_the_connection_is_closed() -> None:
    closed = trio.Event()

    async def silence(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        scope.cancel()
        try:
            while await stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass
        closed.set()

    async with serving(silence) as port:
        with trio.CancelScope() as scope:
            await probe(port)
        await closed.wait()

    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("base", "endpoint", "url"),
    [
        ("http://h:1", "/health", "http://h:1/health"),
        ("http://h:1/", "health", "http://h:1/health"),
        ("http://h:1/base", "/v1/ready?x=1", "http://h:1/base/v1/ready?x=1"),
        ("http://h:1/base/", "/", "http://h:1/base/"),
        ("http://h:1", " none ", None),
    ],
)
def test_check_url(base: str, endpoint: str, url: str | None) -> None:
    assert check_url(base, endpoint) == url


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("LocalHost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
     ("192.168.1.7", False), ("localhost.example", False), ("gpu-box", False)],
)  # fmt: skip
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
