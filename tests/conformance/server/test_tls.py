"""TLS: HTTP/1.1 as without it, HTTP/2 for who asks for it by ALPN."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import trio
from attrs import define, field
from h2.errors import ErrorCodes
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, wrap_client_stream

from swapd.http.server import ABORT, TLS, Receive, Scope, Send
from tests.conformance.server.support import (
    GET,
    Client,
    Running,
    StartServer,
    Stuck,
    answer,
    by_path,
    echo,
    hello,
    part,
    patience,
    post,
    start,
)

CERTIFICATE = Path(__file__).with_name("localhost.pem")
PEM = TLS(CERTIFICATE, CERTIFICATE)
MIB = 1024 * 1024


def client_context(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    context.set_alpn_protocols(list(protocols))
    return context


async def connect(server: Running, *protocols: str) -> Client:
    """A client that speaks TLS, and offers `protocols` by ALPN."""
    plain = await server.connect()
    assert isinstance(plain.stream, trio.SocketStream)
    stream = trio.SSLStream(plain.stream, client_context(*protocols), server_hostname="localhost")
    with patience():
        await stream.do_handshake()
    return Client(stream)  # type: ignore[arg-type]  # its half-close is not used


@define
class Reply:
    status: int = 0
    headers: dict[bytes, bytes] = field(factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None


class H2Client:
    """Speaks HTTP/2 as crudely as the test wants. `replies` are by stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        config = h2.config.H2Configuration(header_encoding=None)
        self.connection = h2.connection.H2Connection(config)
        self.stream = stream
        self.replies: dict[int, Reply] = {}
        self.terminated: int | None = None
        self.acknowledges = True
        self.closed = False
        self._changed = trio.lowlevel.ParkingLot()
        self._sending = trio.Lock()

    async def flush(self) -> None:
        with patience():
            async with self._sending:
                try:
                    await self.stream.send_all(self.connection.data_to_send())
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

    async def run(self) -> None:
        while True:
            try:
                data = await self.stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.closed = True
                self._changed.unpark_all()
                return
            for event in self.connection.receive_data(bytes(data)):
                self._take(event)
            self._changed.unpark_all()
            await self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            headers = dict(event.headers or [])
            reply = self.replies[event.stream_id]
            reply.status, reply.headers = int(headers[b":status"]), headers
        elif isinstance(event, h2.events.DataReceived):
            self.replies[event.stream_id].body += event.data or b""
            if self.acknowledges:
                self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.replies[event.stream_id].ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.replies[event.stream_id].reset = int(event.error_code or 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.terminated = int(event.error_code or 0)

    async def request(self, path: str = "/", *, method: str = "GET", end: bool = True) -> int:
        stream_id = self.connection.get_next_available_stream_id()
        self.replies[stream_id] = Reply()
        headers = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.connection.send_headers(stream_id, headers, end_stream=end)
        await self.flush()
        return stream_id

    async def until(self, stream_id: int, what: str) -> Reply:
        """Wait until `what` of the reply is something."""
        reply = self.replies[stream_id]
        with patience():
            while not getattr(reply, what) and not self.closed:
                await self._changed.park()
        assert getattr(reply, what), reply
        return reply

    async def until_closed(self) -> None:
        with patience():
            while not self.closed:
                await self._changed.park()


@asynccontextmanager
async def speaking_h2(server: Running) -> AsyncIterator[H2Client]:
    client = H2Client((await connect(server, "h2")).stream)
    client.connection.initiate_connection()
    await client.flush()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        yield client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["unknown", "http/1.1"]])
async def test_http_1_1_over_tls(serve_app: StartServer, protocols: list[str]) -> None:
    # Given a server with TLS
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    server = await serve_app(app, tls=PEM)
    client = await connect(server, *protocols)
    # When a client does not ask for HTTP/2
    for body in (b"first", bytes(3 * MIB)):
        got = await client.ask(post(body))
        # Then it is served as without TLS
        assert (got.status, got.body) == (200, body)
    assert scopes[0]["scheme"] == "https"
    got = await client.ask(GET[:-2] + b"Connection: close\r\n\r\n")
    assert got["connection"] == "close"
    assert await client.rest() == b""
    assert server.errors == []


async def test_http_2_over_tls_with_a_real_client(serve_app: StartServer) -> None:
    # Given a server with TLS
    server = await serve_app(echo, tls=PEM)
    host, port = server.addresses[0]
    # When a client prefers HTTP/2, and uploads and downloads more than a window at once
    async with httpx.AsyncClient(http2=True, verify=client_context("h2", "http/1.1")) as client:
        bodies = [bytes([number]) * MIB for number in range(5)]
        answers: dict[int, httpx.Response] = {}

        async def ask(number: int) -> None:
            answers[number] = await client.post(f"https://{host}:{port}/", content=bodies[number])

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, number)
    # Then it gets that, and all bodies are as they should be
    for number, got in answers.items():
        assert (got.status_code, got.http_version, got.content) == (200, "HTTP/2", bodies[number])
        assert "date" in got.headers
        assert "server" not in got.headers
    assert server.errors == []


async def test_the_scope_of_an_http_2_request(serve_app: StartServer) -> None:
    # Given a server that keeps scopes
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await hello(scope, receive, send)

    server = await serve_app(app, tls=PEM)
    async with speaking_h2(server) as client:
        # When a request arrives
        await client.until(await client.request("/a%2Fb/%ff?q"), "ended")
    # Then its scope is as for HTTP/1.1
    (scope,) = scopes
    assert (scope["http_version"], scope["scheme"], scope["method"]) == ("2", "https", "GET")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b/\ufffd", b"/a%2Fb/%ff", b"q")
    assert (b"host", b"localhost") in scope["headers"]
    assert ABORT in scope["extensions"]


@pytest.mark.parametrize("how", ["resets", "leaves"])
async def test_an_http_2_client_that_goes_cancels_its_app(
    serve_app: StartServer, clock: MockClock, how: str
) -> None:
    # Given an app that waits
    stuck = Stuck()
    server = await serve_app(by_path(stuck=stuck), tls=PEM)
    async with speaking_h2(server) as client:
        stream_id = await client.request("/stuck")
        await stuck.begun.wait()
        before = trio.current_time()
        # When the client resets the stream, or leaves altogether
        if how == "resets":
            client.connection.reset_stream(stream_id, ErrorCodes.CANCEL)
            await client.flush()
        else:
            await trio.aclose_forcefully(client.stream)
        # Then the app is cancelled at once
        await stuck.cancelled.wait()
        assert trio.current_time() == before
        # And others on the connection are not concerned
        if how == "resets":
            assert (await client.until(await client.request(), "ended")).body == b"hello"
    assert server.errors == []


async def test_leaving_over_tls_cancels_an_http_1_1_app(serve_app: StartServer) -> None:
    # Given an app that waits
    stuck = Stuck()
    server = await serve_app(stuck, tls=PEM)
    client = await connect(server)
    await client.send(GET)
    await stuck.begun.wait()
    # When the client leaves
    await client.close()
    # Then the app is cancelled
    with patience():
        await stuck.cancelled.wait()
    assert server.errors == []


@pytest.mark.parametrize("how", ["raises", "returns", "aborts"])
async def test_an_http_2_answer_that_is_not_whole_is_a_reset_stream(serve_app: StartServer, how: str) -> None:
    # Given an app that cannot finish what it has begun
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await part(send, b"some")
        if how == "raises":
            raise RuntimeError("broken")
        if how == "aborts":
            scope["extensions"][ABORT]()
            await trio.sleep_forever()

    server = await serve_app(by_path(app=app), tls=PEM)
    async with speaking_h2(server) as client:
        # When it is asked
        reply = await client.until(await client.request("/app"), "reset")
        # Then the stream is reset, and the connection goes on
        assert (reply.reset, reply.ended) == (ErrorCodes.INTERNAL_ERROR, False)
        assert (await client.until(await client.request(), "ended")).body == b"hello"
    assert len(server.errors) == (how == "raises")


async def test_an_http_2_app_that_fails_before_its_answer_is_a_500(serve_app: StartServer) -> None:
    # Given an app that fails
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    server = await serve_app(app, tls=PEM)
    async with speaking_h2(server) as client:
        # When it is asked
        reply = await client.until(await client.request(), "ended")
        # Then that is an answer
        assert reply.status == 500
    assert [str(error) for error in server.errors] == ["broken"]


async def test_an_early_answer_tells_an_http_2_client_to_stop(serve_app: StartServer) -> None:
    # Given an app that does not want the body
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", status=413)

    server = await serve_app(by_path(upload=app), tls=PEM)
    async with speaking_h2(server) as client:
        # When a client has not sent all of it
        stream_id = await client.request("/upload", method="POST", end=False)
        reply = await client.until(stream_id, "ended")
        # Then it gets the answer, and is told that there is no need to go on
        assert (reply.status, reply.body) == (413, b"too large")
        with patience():
            while reply.reset is None:
                await trio.lowlevel.checkpoint()
        assert reply.reset == ErrorCodes.NO_ERROR
        assert (await client.until(await client.request(), "ended")).body == b"hello"


async def test_a_body_over_http_2_has_a_limit_if_one_is_set(serve_app: StartServer) -> None:
    # Given a limit of a thousand bytes
    server = await serve_app(echo, tls=PEM, max_body_bytes=1000)
    async with speaking_h2(server) as client:
        # When more comes
        stream_id = await client.request("/", method="POST", end=False)
        client.connection.send_data(stream_id, bytes(1001))
        await client.flush()
        # Then it is refused
        assert (await client.until(stream_id, "ended")).status == 413
    assert server.errors == []


async def test_an_http_2_upload_that_nobody_takes_holds_up_itself_only(serve_app: StartServer) -> None:
    # Given an app that does not read for a while
    go = trio.Event()
    taken = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal taken
        await go.wait()
        more = True
        while more:
            message = await receive()
            taken += len(message["body"])
            more = message["more_body"]
        await answer(send, b"%d" % taken)

    server = await serve_app(by_path(slow=app), tls=PEM)
    async with speaking_h2(server) as client, trio.open_nursery() as nursery:
        stream_id = await client.request("/slow", method="POST", end=False)
        sent = 0

        @nursery.start_soon
        async def upload() -> None:
            nonlocal sent
            while sent < MIB:
                size = min(client.connection.local_flow_control_window(stream_id), 16384, MIB - sent)
                if size:
                    client.connection.send_data(stream_id, bytes(size), end_stream=sent + size == MIB)
                    sent += size
                    await client.flush()
                else:
                    await client._changed.park()

        # When a client uploads to it
        await wait_all_tasks_blocked()
        # Then it comes no further than its window, and other requests are served
        assert sent < 300_000
        assert (await client.until(await client.request(), "ended")).body == b"hello"
        # And the upload goes on when the app does
        go.set()
        assert (await client.until(stream_id, "ended")).body == b"%d" % MIB


async def test_a_slow_http_2_reader_slows_its_own_app(serve_app: StartServer) -> None:
    # Given an app that would send for ever
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await start(send)
        while True:
            await part(send, bytes(16384))
            sent += 16384

    server = await serve_app(by_path(endless=app), tls=PEM)
    async with speaking_h2(server) as client:
        # When the client does not say that it has read
        client.acknowledges = False
        await client.request("/endless")
        await wait_all_tasks_blocked()
        # Then the app is held up
        stuck_at = sent
        assert stuck_at < MIB
        await wait_all_tasks_blocked()
        assert sent == stuck_at


async def test_an_idle_http_2_connection_is_closed_in_time_and_a_busy_one_is_not(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given twenty seconds for an idle connection
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(100)
        await answer(send, b"late")

    server = await serve_app(app, tls=PEM, keep_alive_s=20)
    async with speaking_h2(server) as client:
        # When a request takes longer than that
        assert (await client.until(await client.request(), "ended")).body == b"late"
        before = trio.current_time()
        # Then the time only counts from its end
        await client.until_closed()
        assert trio.current_time() - before == 20


async def test_a_pause_in_an_http_2_body_ends_the_stream(serve_app: StartServer, clock: MockClock) -> None:
    # Given five seconds for a pause
    server = await serve_app(echo, tls=PEM, body_gap_s=5)
    async with speaking_h2(server) as client:
        stream_id = await client.request("/", method="POST", end=False)
        before = trio.current_time()
        # When the client pauses for good
        reply = await client.until(stream_id, "ended")
        # Then its stream ends with an error
        assert reply.status == 500
        assert trio.current_time() - before == 5


async def test_http_2_connections_drain(serve_app: StartServer) -> None:
    # Given an idle connection, and one in the middle of a request
    go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await answer(send, b"done")

    server = await serve_app(by_path(slow=app), tls=PEM)
    async with speaking_h2(server) as idle, speaking_h2(server) as busy:
        await idle.until(await idle.request(), "ended")
        stream_id = await busy.request("/slow")
        await wait_all_tasks_blocked()
        # When the server is to stop
        server.stopping.set()
        # Then the idle one is closed in good order, the other one after its answer
        await idle.until_closed()
        assert idle.terminated == ErrorCodes.NO_ERROR
        assert not server.finished.is_set()
        go.set()
        assert (await busy.until(stream_id, "ended")).body == b"done"
        await busy.until_closed()
        assert busy.terminated == ErrorCodes.NO_ERROR
        with patience():
            await server.finished.wait()
    assert server.errors == []


@pytest.mark.parametrize("data", [b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000])
async def test_garbage_instead_of_http_2_ends_its_own_connection(serve_app: StartServer, data: bytes) -> None:
    # Given a server with TLS
    server = await serve_app(hello, tls=PEM)
    client = await connect(server, "h2")
    # When a client does not speak what it has offered
    await client.send_quietly(data)
    # Then its connection ends, in bounded time
    try:
        await client.rest()
    except trio.BrokenResourceError:
        pass
    async with speaking_h2(server) as other:
        assert (await other.until(await other.request(), "ended")).status == 200
    assert server.errors == []


@pytest.mark.parametrize("method", ["CONNECT", "GET"])
async def test_odd_http_2_requests_end_their_own_stream(serve_app: StartServer, method: str) -> None:
    # Given a server with TLS
    server = await serve_app(hello, tls=PEM)
    async with speaking_h2(server) as client:
        stream_id = client.connection.get_next_available_stream_id()
        client.replies[stream_id] = Reply()
        # When a request is a tunnel, or has a path that is not ASCII
        headers = [(b":method", method.encode()), (b":authority", b"localhost")]
        if method == "GET":
            headers += [(b":path", b"/\xff"), (b":scheme", b"https")]
        client.connection.send_headers(stream_id, headers, end_stream=method == "GET")
        await client.flush()
        # Then only that is reset
        await client.until(stream_id, "reset")
        assert (await client.until(await client.request(), "ended")).body == b"hello"
    assert server.errors == []


@pytest.mark.parametrize("data", [b"", GET, b"\x16\x03\x01\x00\x05garbage", bytes(100)])
async def test_a_failed_handshake_is_no_event(serve_app: StartServer, clock: MockClock, data: bytes) -> None:
    # Given a server with TLS
    server = await serve_app(hello, tls=PEM, tls_handshake_s=10)
    client = await server.connect()
    # When a client does not speak TLS, or not a word
    await client.send(data)
    # Then its connection ends, in bounded time
    try:
        await client.rest()
    except trio.BrokenResourceError:
        pass
    assert trio.current_time() <= 10.1
    assert server.errors == []


async def test_cancelling_a_tls_server_ends_it_with_stalled_clients(serve_app: StartServer) -> None:
    # Given clients over TLS that do not read, in either version of HTTP, and one that has not shaken hands
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        while True:
            await part(send, bytes(65536))

    server = await serve_app(app, tls=PEM)
    await server.connect()
    old = await connect(server)
    await old.send(GET)
    new = H2Client((await connect(server, "h2")).stream)
    new.connection.initiate_connection()
    await new.request()
    await wait_all_tasks_blocked()
    # When the server is cancelled
    server.scope.cancel()
    # Then it ends within half a second
    with trio.fail_after(0.5 + 0.5):  # and some, as the machine may be busy
        await server.finished.wait()


async def test_a_websocket_over_tls(serve_app: StartServer) -> None:
    # Given an app that echoes
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["scheme"] == "wss"
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})

    server = await serve_app(app, tls=PEM)
    client = await connect(server)
    async with trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(nursery, client.stream, "localhost", "/")
        # When it is used
        await websocket.send_message("x" * 100_000)
        # Then it works, up to the close frame at the end
        assert await websocket.get_message() == "x" * 100_000
        server.scope.cancel()
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.get_message()
        assert closed.value.reason.code == 1001
        nursery.cancel_scope.cancel()
    assert server.errors == []
