"""What an app gets to see of a request: the scope, the body, and their order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from swapd.http.server import ABORT, Receive, Scope, Send
from tests.conformance.server.support import GET, StartServer, answer, hello, post, read_body


@define
class Recorder:
    """Answers every request, and keeps its scope and body."""

    scopes: list[Scope] = field(factory=list)
    bodies: list[bytes] = field(factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.bodies.append(await read_body(receive))
        await answer(send, b"ok")


async def test_the_scope_says_what_was_received(serve_app: StartServer) -> None:
    # Given a server
    app = Recorder()
    server = await serve_app(app)
    client = await server.connect()
    # When a request with escapes, a query and repeated fields arrives
    lines = [b"X-First: 1", b"x-second:2", b"X-First:  3 \t", b"X-Empty:"]
    await client.ask(post(b"x", *lines, target=b"/a%2Fb/%C3%A4?q=%20&r"))
    # Then the scope has all of it, unchanged where ASGI says so
    scope: dict[str, Any] = dict(app.scopes[0])
    extensions = scope.pop("extensions")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/a/b/ä",
        "raw_path": b"/a%2Fb/%C3%A4",
        "query_string": b"q=%20&r",
        "root_path": "",
        "headers": [
            (b"host", b"example"),
            (b"content-length", b"1"),
            (b"x-first", b"1"),
            (b"x-second", b"2"),
            (b"x-first", b"3"),
            (b"x-empty", b""),
        ],
        "client": client.socket.getsockname(),
        "server": server.addresses[0],
    }
    assert set(extensions) == {"http.response.trailers", ABORT}


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"//a/../b", "//a/../b", b"//a/../b", b""),
        (b"/%ff%fe%00", "/\ufffd\ufffd\0", b"/%ff%fe%00", b""),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"/?", "/", b"/", b""),
        (b"/%252F", "/%2F", b"/%252F", b""),
        (b"http://other:80/a%20b?c", "/a b", b"/a%20b", b"c"),
        (b"http://user@other", "/", b"/", b""),
        (b"http://other?q", "/", b"/", b"q"),
    ],
)
async def test_the_target_is_taken_apart(
    serve_app: StartServer, target: bytes, path: str, raw_path: bytes, query: bytes
) -> None:
    # Given a server
    app = Recorder()
    server = await serve_app(app)
    # When a target of some form is asked for
    await server.ask(b"GET %b HTTP/1.1\r\nHost: example\r\n\r\n" % target)
    # Then the app gets its parts, and an absolute one's authority as Host
    (scope,) = app.scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)
    host = {b"http://other:80/a%20b?c": b"other:80"}.get(
        target, b"other" if b"other" in target else b"example"
    )
    assert [value for name, value in scope["headers"] if name == b"host"] == [host]


async def test_options_of_the_server_as_a_whole_is_answered_without_the_app(serve_app: StartServer) -> None:
    # Given a server
    app = Recorder()
    server = await serve_app(app)
    # When it is asked for its own options
    got = await server.ask(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    # Then it answers by itself
    assert (got.status, got.body, app.scopes) == (200, b"", [])


async def test_a_chunked_body_arrives_without_its_framing_and_trailers(serve_app: StartServer) -> None:
    # Given a server
    app = Recorder()
    server = await serve_app(app)
    client = await server.connect()
    # When a body comes in chunks, with extensions and trailers
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    await client.send(head + b"3;e=1\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-T: v\r\nHost: evil\r\n\r\n" + GET)
    # Then the app gets the body and nothing else, and the next request is found
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    assert app.bodies == [b"abc0123456789", b""]
    assert [value for name, value in app.scopes[0]["headers"] if name == b"host"] == [b"x"]


async def test_what_arrives_together_is_received_together(serve_app: StartServer) -> None:
    # Given an app that records messages
    messages: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            messages.append(await receive())
            if not messages[-1]["more_body"]:
                break
        await answer(send, b"")

    server = await serve_app(app)
    client = await server.connect()
    # When two chunks come together with the head, and the end by itself
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"1\r\na\r\n1\r\nb\r\n")
    await wait_all_tasks_blocked()
    await client.send(b"0\r\n\r\n")
    await client.answer()
    # Then the app receives them as one part, and the end
    assert messages == [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
    ]


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(serve_app: StartServer) -> None:
    # Given an app that shows how many requests it is answering
    running = 0
    most = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        body = await read_body(receive)
        for _ in range(5 - len(body)):
            await trio.lowlevel.checkpoint()
        await answer(send, scope["raw_path"] + body)
        running -= 1

    server = await serve_app(app)
    client = await server.connect()
    # When requests come without waiting for answers
    await client.send(b"".join(post(b"x" * number, target=b"/%d" % number) for number in range(5)))
    # Then each is begun after the one before has ended
    bodies = [(await client.answer()).body for _ in range(5)]
    assert bodies == [b"/%d" % number + b"x" * number for number in range(5)]
    assert most == 1


async def test_a_pipelined_request_waits_unread_while_the_one_before_runs(serve_app: StartServer) -> None:
    # Given an app that has not answered yet
    go = trio.Event()
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await go.wait()
        await answer(send, b"ok")

    server = await serve_app(app)
    client = await server.connect()
    await client.send(GET)
    await wait_all_tasks_blocked()
    # When the next request arrives meanwhile
    await client.send(GET)
    await wait_all_tasks_blocked()
    # Then it has to wait
    assert seen == ["/"]
    go.set()
    await client.answer()
    await client.answer()
    assert seen == ["/", "/"]


async def test_a_short_body_that_the_app_did_not_want_does_not_cost_the_connection(
    serve_app: StartServer,
) -> None:
    # Given an app that answers without reading
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", status=404)

    server = await serve_app(app)
    client = await server.connect()
    # When a client sends its head, and its short body after the answer
    for _ in range(2):
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        got = await client.answer()
        await client.send(bytes(1000))
        # Then it may go on using the connection
        assert (got.status, got["connection"]) == (404, None)


@pytest.mark.parametrize(
    ("version", "field", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: x, Close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", True),
        (b"1.0", b"Connection: Keep-Alive, x\r\n", True),
    ],
)
async def test_the_connection_is_kept_as_the_client_wishes(
    serve_app: StartServer, version: bytes, field: bytes, kept: bool
) -> None:
    # Given a server
    server = await serve_app(hello)
    client = await server.connect()
    # When a client says, or means, that it wants to go on or not
    got = await client.ask(b"GET / HTTP/%b\r\nHost: x\r\n%b\r\n" % (version, field))
    # Then the answer says what comes of it, where that does not go without saying
    assert got.body == b"hello"
    if kept:
        assert got["connection"] == ("keep-alive" if version == b"1.0" else None)
        assert (await client.ask(GET)).status == 200
    else:
        assert got["connection"] == "close"
        assert await client.rest() == b""
