"""One request, one response: what goes over the wire, and what happens when it does not go well."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from itertools import repeat

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.http.upstream import (
    BadResponse,
    BodyFailed,
    BodyLengthMismatch,
    ConnectionLost,
    HeadTimedOut,
    SendTimedOut,
    StreamedBody,
    UpstreamResponse,
)
from tests.unit.http.upstream.scripted import OK, Hangup, Peer, Request, serving

MB = 1024 * 1024


async def read(response: UpstreamResponse) -> bytes:
    return b"".join([chunk async for chunk in response])


class Pieces:
    """A source of body pieces that counts how often it was asked, and that nobody has to close."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = iter(pieces)
        self.taken = 0

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.taken += 1
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None


class Endless(Pieces):
    """The same piece again and again."""

    def __init__(self, piece: bytes) -> None:
        super().__init__()
        self._pieces = repeat(piece)


class Recorder:
    """A script that answers `OK` and remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            self.requests.append(await peer.request())
            await peer.send(OK)


# -- what is sent --------------------------------------------------------------------------------------------


async def test_given_a_small_request_when_sent_then_it_is_on_the_wire_as_given() -> None:
    received = []

    async def script(peer: Peer) -> None:
        received.append(await peer.exactly(len(expected)))
        await peer.send(OK)

    expected = b"POST /v1/x?a=%2F HTTP/1.1\r\nhost: h\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 4\r\n\r\nbody"
    async with serving(script) as server:
        headers = [(b"host", b"h"), (b"X-A", b"1"), (b"x-a", b"2")]
        assert await read(await server.pool().exchange(b"POST", b"/v1/x?a=%2F", headers, b"body")) == b"ok"
    assert received == [expected]


@pytest.mark.parametrize(
    ("method", "length"),
    [(b"GET", None), (b"DELETE", None), (b"POST", b"0"), (b"PUT", b"0"), (b"PATCH", b"0")],
)
async def test_given_no_body_when_sent_then_a_length_is_said_where_one_is_expected(
    method: bytes, length: bytes | None
) -> None:
    recorder = Recorder()
    async with serving(recorder) as server:
        pool = server.pool()
        await pool.exchange(method, b"/", [])
    assert recorder.requests[0].headers.get(b"content-length") == length


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        (b"/\r\nX: 1", []),
        (b"/ HTTP/1.1", []),
        (b"/", [(b"a", b"1\r\nb: 2")]),
        (b"/", [(b"a", b"1\rb")]),
        (b"/", [(b"a\n", b"1")]),
    ],
)
async def test_given_a_line_break_in_a_field_when_sent_then_nothing_leaves(
    target: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    async with serving(Recorder()) as server:
        with pytest.raises(ValueError, match="line break"):
            await server.pool().exchange(b"GET", target, headers)
        assert server.peers == []


@pytest.mark.parametrize("length", [None, 3 * MB + 7])
async def test_given_a_streamed_body_when_sent_then_every_byte_arrives(length: int | None) -> None:
    body = random.Random(1).randbytes(3 * MB + 7)
    recorder = Recorder()
    async with serving(recorder) as server:
        pool = server.pool()
        pieces = Pieces(b"", body[:1], body[1:70000], b"", body[70000:])
        assert await read(await pool.exchange(b"POST", b"/", [], StreamedBody(pieces, length))) == b"ok"
        assert pool.idle == 1
    request = recorder.requests[0]
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(body).digest()
    assert (b"content-length" in request.headers) == (length is not None)
    assert (b"transfer-encoding" in request.headers) == (length is None)


async def test_given_a_body_larger_than_any_buffer_when_sent_then_every_byte_arrives() -> None:
    body = random.Random(2).randbytes(20 * MB)
    recorder = Recorder()
    async with serving(recorder) as server:
        pool = server.pool()
        for _ in range(2):
            assert await read(await pool.exchange(b"POST", b"/", [], body)) == b"ok"
        assert (len(server.peers), pool.idle) == (1, 1)
    assert [hashlib.sha256(each.body).digest() for each in recorder.requests] == [
        hashlib.sha256(body).digest()
    ] * 2


@pytest.mark.parametrize(("length", "text"), [(3, "longer"), (9, "4 bytes short")])
async def test_given_a_body_of_another_length_than_said_when_sent_then_the_exchange_fails(
    length: int, text: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool()
        with pytest.raises(BodyFailed) as failure:
            await pool.exchange(b"POST", b"/", [], StreamedBody(Pieces(b"hello"), length))
        await server.peers[0].left.wait()
    assert isinstance(failure.value.__cause__, BodyLengthMismatch)
    assert text in str(failure.value.__cause__)


async def test_given_a_body_whose_source_fails_when_sent_then_the_cause_is_told() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"begin"
        raise KeyError("source")

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool()
        with pytest.raises(BodyFailed) as failure:
            await pool.exchange(b"POST", b"/", [], StreamedBody(broken()))
        await server.peers[0].left.wait()
    assert isinstance(failure.value.__cause__, KeyError)


async def test_given_a_slow_upstream_when_a_body_is_streamed_then_its_source_is_held_back() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await trio.sleep_forever()

    async with serving(script) as server:
        async with trio.open_nursery() as nursery:
            source = Endless(bytes(MB))
            nursery.start_soon(server.pool().exchange, b"POST", b"/", [], StreamedBody(source))
            await wait_all_tasks_blocked(0.05)
            taken = source.taken
            await wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
        assert source.taken == taken < 32


# -- early responses -----------------------------------------------------------------------------------------


async def test_given_an_upstream_that_refuses_early_when_it_stops_reading_then_its_answer_arrives() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await trio.sleep_forever()

    async with serving(script) as server:
        pool = server.pool()
        response = await pool.exchange(b"POST", b"/", [], StreamedBody(Endless(bytes(65536))))
        assert (response.status, await read(response), pool.idle) == (413, b"big", 0)
        response = await pool.exchange(b"POST", b"/", [], bytes(64 * MB))
        assert (response.status, await read(response), pool.idle) == (413, b"big", 0)


async def test_given_an_upstream_that_refuses_early_when_it_closes_then_its_answer_arrives() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")

    async with serving(script) as server:
        response = await server.pool().exchange(b"POST", b"/", [], bytes(64 * MB))
        assert (response.status, await read(response)) == (401, b"no")


async def test_given_a_nursery_when_the_upstream_answers_while_it_reads_then_both_directions_go_on() -> None:
    async def echo(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await peer._until(b"\r\n"), 16):
            piece = await peer.exactly(size)
            await peer.exactly(2)
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.exactly(2)
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    to_send, source = trio.open_memory_channel[bytes](0)
    async with serving(echo) as server, trio.open_nursery() as nursery:
        pool = server.pool()
        response = await pool.exchange(b"POST", b"/", [], StreamedBody(source), nursery=nursery)
        for piece in (b"one", b"two"):
            await to_send.send(piece)
            assert await anext(response) == piece
        await to_send.aclose()
        assert await read(response) == b""
        assert pool.idle == 1


async def test_given_a_nursery_when_the_upstream_refuses_early_then_sending_ends_all_the_same() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await trio.sleep_forever()

    async with serving(script) as server, trio.open_nursery() as nursery:
        response = await server.pool().exchange(b"POST", b"/", [], bytes(64 * MB), nursery=nursery)
        assert await read(response) == b"big"
        # Leaving the nursery without cancelling it shows that the sender has gone.


# -- what comes back -----------------------------------------------------------------------------------------


async def test_given_a_long_response_when_read_then_every_byte_arrives_in_pieces_of_at_most_a_read() -> None:
    body = random.Random(3).randbytes(5 * MB)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 100_000):
            piece = body[start : start + 100_000]
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool()
        pieces = [chunk async for chunk in await pool.exchange(b"GET", b"/", [])]
        assert b"".join(pieces) == body
        assert max(map(len, pieces)) <= 65536


async def test_given_chunks_that_come_together_when_read_then_they_are_one_piece() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await go_on.wait()
        await peer.send(b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
        await peer.gone()

    go_on = trio.Event()
    async with serving(script) as server:
        pool = server.pool()
        response = await pool.exchange(b"GET", b"/", [])
        assert (response.take(), response.ended) == (b"", False)
        go_on.set()
        assert await response.receive() == b"onetwothree"
        assert response.ended


async def test_given_a_fast_upstream_when_read_without_pause_then_other_tasks_get_their_turn() -> None:
    turns = 0

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MB))
        for _ in range(64):
            await peer.send(bytes(MB))
        await peer.gone()

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with serving(script) as server, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        pool = server.pool()
        response = await pool.exchange(b"GET", b"/", [])
        await read(response)
        assert turns > 64 * MB / 65536 / 8 / 2
        nursery.cancel_scope.cancel()


async def test_given_trailers_when_the_response_has_ended_then_they_are_there() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n")
        await go_on.wait()
        await peer.send(b"0\r\nX-Sum: 7\r\n\r\n")
        await peer.gone()

    go_on = trio.Event()
    async with serving(script) as server:
        pool = server.pool()
        response = await pool.exchange(b"GET", b"/", [])
        go_on.set()
        assert await read(response) == b"a"
        assert response.trailers == [(b"x-sum", b"7")]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nConte", ConnectionLost),
        (b"\x16\x03\x01\x02 this is TLS", BadResponse),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20000, BadResponse),
    ],
)
async def test_given_no_proper_head_when_awaited_then_the_connection_is_closed(
    data: bytes, error: type[Exception]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    async with serving(script) as server:
        pool = server.pool()
        with pytest.raises(error):
            await pool.exchange(b"GET", b"/", [])
        assert pool.idle == 0


@pytest.mark.parametrize("with_reset", [False, True])
@pytest.mark.parametrize("framing", [b"Content-Length: 20", b"Transfer-Encoding: chunked"])
async def test_given_an_upstream_that_dies_in_mid_body_when_read_then_that_is_an_error(
    with_reset: bool, framing: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n4\r\nhell\r\n" % framing)
        await go_on.wait()
        if with_reset:
            peer.reset()

    go_on = trio.Event()
    async with serving(script) as server:
        pool = server.pool()
        response = await pool.exchange(b"GET", b"/", [])
        assert b"hell" in response.take()
        go_on.set()
        with pytest.raises(ConnectionLost):
            await response.receive()
        response.close()
        assert pool.idle == 0


# -- limits and cancellation ---------------------------------------------------------------------------------


async def test_given_a_response_header_timeout_when_the_head_is_late_then_the_exchange_fails(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200")
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool(response_header_s=60)
        began = trio.current_time()
        with pytest.raises(HeadTimedOut, match=r"127\.0\.0\.1:\d+ sent no response within 60 s"):
            await pool.exchange(b"GET", b"/", [])
        assert trio.current_time() - began == pytest.approx(60)
        await server.peers[0].left.wait()


async def test_given_a_response_header_timeout_when_the_body_is_late_then_that_is_allowed(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await trio.sleep(1000)
        await peer.send(b"ok")

    async with serving(script) as server:
        assert await read(await server.pool(response_header_s=60).exchange(b"GET", b"/", [])) == b"ok"


async def test_given_a_slow_upload_when_there_is_a_response_header_timeout_then_it_counts_from_the_last_byte(
    autojump_clock: MockClock,
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(10):
            await trio.sleep(50)
            yield b"x"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool(response_header_s=60)
        began = trio.current_time()
        with pytest.raises(HeadTimedOut):
            await pool.exchange(b"POST", b"/", [], StreamedBody(slow()))
        assert trio.current_time() - began == pytest.approx(560)


async def test_given_a_send_timeout_when_the_upstream_does_not_read_then_the_exchange_fails(
    autojump_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await trio.sleep_forever()

    async with serving(script) as server:
        pool = server.pool(send_s=5)
        with pytest.raises(SendTimedOut):
            await pool.exchange(b"POST", b"/", [], bytes(64 * MB))


@pytest.mark.parametrize("body", [b"", bytes(64 * MB)], ids=["waiting for the head", "sending"])
async def test_given_an_exchange_when_cancelled_then_the_upstream_sees_the_connection_close(
    body: bytes,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        started.set()
        await resume.wait()
        await peer.gone()
        noticed.set()

    started, resume, noticed = trio.Event(), trio.Event(), trio.Event()
    async with serving(script) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.pool().exchange, b"POST", b"/", [], body)
            await started.wait()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        resume.set()
        with trio.fail_after(5):
            await noticed.wait()


async def test_given_a_stream_when_its_reader_is_cancelled_and_closes_it_then_the_upstream_is_free() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        try:
            await peer.exactly(1)
        except Hangup:
            noticed.set()

    noticed = trio.Event()
    async with serving(script) as server:
        pool = server.pool()
        response = await pool.exchange(b"GET", b"/", [])
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await read(response)
            finally:
                response.close()
        with trio.fail_after(5):
            await noticed.wait()
        assert pool.idle == 0
