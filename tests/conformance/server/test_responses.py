"""What a client gets to see of an app's response."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapd.http.server import ABORT, Receive, ResponseError, Scope, Send
from tests.conformance.server.support import GET, StartServer, answer, by_path, hello, part, read_body, start

OLD = b"GET / HTTP/1.0\r\n\r\n"


async def test_a_body_of_one_part_needs_no_chunks(serve_app: StartServer) -> None:
    # Given an app that does not say how long its body is
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"short", headers=[(b"x-y", b"z")])

    server = await serve_app(app)
    # When it sends all of it at once
    got = await server.ask(GET)
    # Then the server knows
    assert (got["content-length"], got["transfer-encoding"], got["x-y"]) == ("5", None, "z")
    assert got.body == b"short"


async def test_a_body_of_unknown_length_is_chunked(serve_app: StartServer) -> None:
    # Given an app that sends parts, empty ones among them
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        for piece in (b"a", b"", b"bc", b""):
            await part(send, piece)
        await part(send, b"d", more=False)

    server = await serve_app(app)
    client = await server.connect()
    # When asked
    await client.send(GET)
    # Then each part that is not empty is a chunk, and the connection remains
    assert (await client.head())["transfer-encoding"] == "chunked"
    assert [await client.chunk() for _ in range(4)] == [b"a", b"bc", b"d", b""]
    assert await client.until(b"\r\n") == b"\r\n"
    assert (await client.ask(GET)).body == b"abcd"


async def test_a_client_of_http_1_0_gets_a_body_of_unknown_length_up_to_the_end_of_the_connection(
    serve_app: StartServer,
) -> None:
    # Given an app that sends parts
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await part(send, b"a")
        await part(send, b"b", more=False)

    server = await serve_app(app)
    # When a client of HTTP/1.0 asks, be it one that wants to keep the connection
    for request in (OLD, OLD[:-2] + b"Connection: keep-alive\r\n\r\n"):
        got = await server.ask(request)
        # Then there are no chunks
        assert (got.version, got["transfer-encoding"], got["connection"]) == ("HTTP/1.1", None, "close")
        assert got.body == b"ab"


async def test_a_body_for_http_1_0_that_breaks_off_is_not_mistaken_for_a_whole_one(
    serve_app: StartServer,
) -> None:
    # Given an app that fails in mid-body
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await part(send, b"a")
        raise RuntimeError("broken")

    server = await serve_app(app)
    client = await server.connect()
    # When a client of HTTP/1.0 reads on to the end of the connection
    await client.send(OLD)
    await client.head()
    # Then that is a reset
    with pytest.raises(trio.BrokenResourceError):
        await client.rest()


@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("length", [True, False])
async def test_an_answer_without_a_body_has_none(
    serve_app: StartServer, status: int, method: bytes, length: bool
) -> None:
    # Given an app that answers everything alike
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"body", status=status, headers=None if length else [])

    server = await serve_app(app)
    client = await server.connect()
    # When the method or the status leaves no room for a body
    bodyless = method == b"HEAD" or status != 200
    for _ in range(2):
        await client.send(GET.replace(b"GET", method))
        got = await client.answer(bodyless=bodyless)
        # Then there is none, no chunks either, and the connection goes on
        assert got.status == status
        assert got.body == (b"" if bodyless else b"body")
        assert got["transfer-encoding"] is None
        if status == 204:
            assert got["content-length"] is None


async def test_the_head_comes_with_the_first_part_or_with_an_empty_one(serve_app: StartServer) -> None:
    # Given an app that begins long before it has something to say
    flush = trio.Event()
    go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await flush.wait()
        await part(send, b"")
        await go.wait()
        await part(send, b"x", more=False)

    server = await serve_app(app)
    client = await server.connect()
    await client.send(GET)
    await wait_all_tasks_blocked()
    assert client.socket.is_readable() is False
    # When it sends an empty part
    flush.set()
    # Then the head is on its way
    assert (await client.head()).status == 200
    go.set()
    assert await client.chunk() == b"x"


async def test_no_server_field_is_added_and_no_second_date(serve_app: StartServer) -> None:
    # Given one app with fields of its own, and one without
    async def dated(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(
            send, b"", headers=[(b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"Server", b"upstream")]
        )

    server = await serve_app(by_path(dated=dated))
    # When asked
    own = await server.ask(GET.replace(b"/", b"/dated", 1))
    added = await server.ask(GET)
    # Then the first keeps what it has, and the second gets a date only
    assert (own["date"], own["server"]) == ("Thu, 01 Jan 1970 00:00:00 GMT", "upstream")
    assert added["server"] is None
    assert added["date"] is not None
    assert parsedate_to_datetime(added["date"]).year > 2000


async def test_hop_by_hop_fields_are_the_servers(serve_app: StartServer) -> None:
    # Given an app that passes on what an upstream said about its own connection
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        fields = [
            (b"Connection", b"keep-alive"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Keep-Alive", b"timeout=5"),
        ]
        await answer(send, b"x", headers=fields)

    server = await serve_app(app)
    client = await server.connect()
    # When asked
    got = await client.ask(GET)
    # Then the framing is the server's own
    assert (got["transfer-encoding"], got["content-length"], got["keep-alive"]) == (None, "1", None)
    assert got["connection"] == "keep-alive"


async def test_an_app_may_end_the_connection(serve_app: StartServer) -> None:
    # Given an app that says so
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"bye", headers=[(b"Connection", b"close")])

    server = await serve_app(app)
    client = await server.connect()
    # When asked
    got = await client.ask(GET)
    # Then the connection ends
    assert (got["connection"], got.body) == ("close", b"bye")
    assert await client.rest() == b""


async def test_trailers_follow_the_last_chunk(serve_app: StartServer) -> None:
    # Given an app with trailers
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await part(send, b"body", more=False)
        trailers = {"type": "http.response.trailers"}
        await send({**trailers, "headers": [(b"x-a", b"1")], "more_trailers": True})
        await send({**trailers, "headers": [(b"x-b", b"2")]})

    server = await serve_app(app)
    client = await server.connect()
    # When asked
    for _ in range(2):
        got = await client.ask(GET)
        # Then they are there
        assert (got.body, got.trailers) == (b"body", [("x-a", "1"), ("x-b", "2")])
    # And a client of HTTP/1.0 can do without
    assert (await server.ask(OLD)).body == b"body"


async def test_an_app_that_fails_before_its_answer_is_a_500(serve_app: StartServer) -> None:
    # Given apps that fail in various ways
    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    async def raises_group(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises, scope, receive, send)
            await trio.sleep_forever()

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)

    async def halfway(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, headers=[(b"x-half", b"1")])
        raise RuntimeError("secret")

    server = await serve_app(by_path(raises=raises, group=raises_group, silent=silent, halfway=halfway))
    # When they are asked
    for number, name in enumerate((b"raises", b"group", b"silent", b"halfway"), start=1):
        got = await server.ask(GET.replace(b"/", b"/" + name, 1))
        # Then the client learns that, but not why; the error is reported
        assert (got.status, got.reason) == (500, "Internal Server Error")
        assert b"secret" not in got.body
        assert got["x-half"] is None
        assert len(server.errors) == number
    assert await server.is_well()


@pytest.mark.parametrize("how", ["raises", "returns", "aborts"])
async def test_an_answer_that_is_not_whole_has_no_last_chunk(serve_app: StartServer, how: str) -> None:
    # Given an app that cannot finish what it has begun
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await part(send, b"some")
        if how == "raises":
            raise RuntimeError("broken")
        if how == "aborts":
            scope["extensions"][ABORT]()
            await trio.sleep_forever()

    server = await serve_app(by_path(app=app))
    client = await server.connect()
    # When it is asked
    await client.send(GET.replace(b"/", b"/app", 1))
    await client.head()
    # Then the connection ends after what it has sent, and only an exception is reported
    assert await client.chunk() == b"some"
    assert await client.ended()
    assert len(server.errors) == (how == "raises")
    assert await server.is_well()


async def test_aborting_cancels_the_app_and_a_whole_answer_cannot_be_aborted(serve_app: StartServer) -> None:
    # Given an app that aborts before it answers, and one that does so after
    cancelled = trio.Event()

    async def before(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][ABORT]()
        scope["extensions"][ABORT]()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async def after(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"whole")
        scope["extensions"][ABORT]()

    server = await serve_app(by_path(before=before, after=after))
    client = await server.connect()
    # When they are asked
    assert (await client.ask(GET.replace(b"/", b"/after", 1))).body == b"whole"
    await client.send(GET.replace(b"/", b"/before", 1))
    # Then the first's client gets nothing but the end, the second's noticed nothing
    assert await client.ended()
    await cancelled.wait()
    assert server.errors == []


async def test_an_answer_whose_end_nobody_takes_can_be_aborted(serve_app: StartServer) -> None:
    # Given an app whose last part is more than its client reads
    aborts: list[Callable[[], None]] = []
    cancelled = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        aborts.append(scope["extensions"][ABORT])
        try:
            await answer(send, bytes(32 * 1024 * 1024))
        finally:
            cancelled.set()

    server = await serve_app(app)
    client = await server.connect(receive_buffer=4096)
    await client.send(GET)
    await wait_all_tasks_blocked(0.02)
    assert not cancelled.is_set()
    # When another task aborts it
    aborts[0]()
    # Then the app is cancelled
    with trio.fail_after(5):
        await cancelled.wait()
    assert server.errors == []


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nevil: 1")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\nevil: 1")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\0")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"x y", b"a")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"x\r\ny", b"a")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"", b"a")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"-1")]},
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"1"), (b"Content-Length", b"2")],
        },
        {"type": "http.response.start", "status": 101},
        {"type": "http.response.start", "status": 99999},
        {"type": "http.response.body", "body": b"x"},
        {"type": "http.response.trailers", "headers": []},
        {"type": "websocket.accept"},
    ],
)
async def test_what_is_no_response_raises_in_the_app(
    serve_app: StartServer, message: dict[str, object]
) -> None:
    # Given an app that sends nonsense, finds out, and answers properly after all
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(message)
        except ResponseError as error:
            raised.append(error)
        await answer(send, b"well")

    server = await serve_app(app)
    # When asked
    got = await server.ask(GET)
    # Then nothing of the nonsense was sent
    assert (got.body, got["x"], len(raised)) == (b"well", None, 1)


@pytest.mark.parametrize("body", [b"too long", b"-"])
async def test_a_body_that_is_not_of_its_length_is_broken_off(serve_app: StartServer, body: bytes) -> None:
    # Given an app that does not keep its word about the length
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, body, headers=[(b"content-length", b"4")])

    server = await serve_app(app)
    client = await server.connect()
    # When asked
    await client.send(GET)
    # Then the client gets an error, if nothing was sent yet, and else no whole answer
    assert (await client.answer()).status == 500
    assert isinstance(server.errors[0], ResponseError)
    assert "Content-Length" in str(server.errors[0])


async def test_a_body_that_ends_too_soon_is_broken_off(serve_app: StartServer) -> None:
    # Given an app that sends less than it has promised
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, headers=[(b"content-length", b"4")])
        await part(send, b"ab")
        await part(send, b"", more=False)

    server = await serve_app(app)
    client = await server.connect()
    # When asked
    await client.send(GET)
    # Then the connection ends in mid-body
    await client.head()
    assert await client.rest() == b"ab"
    assert "shorter" in str(server.errors[0])


async def test_an_error_behind_a_whole_answer_is_reported_and_harms_nobody(serve_app: StartServer) -> None:
    # Given an app that fails after its answer
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"whole")
        raise RuntimeError("late")

    server = await serve_app(app)
    client = await server.connect()
    # When it is asked, more than once
    for _ in range(2):
        assert (await client.ask(GET)).body == b"whole"
    # Then the client has noticed nothing
    assert [str(error) for error in server.errors] == ["late", "late"]


async def test_the_default_server_answers_many_requests_on_many_connections(serve_app: StartServer) -> None:
    # Given a server
    server = await serve_app(hello)

    async def ask_repeatedly() -> None:
        client = await server.connect()
        for _ in range(50):
            assert (await client.ask(GET)).body == b"hello"

    # When twenty clients ask at once
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask_repeatedly)
    # Then all have been answered
    assert server.errors == []
