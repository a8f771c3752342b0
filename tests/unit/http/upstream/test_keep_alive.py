"""Which connections are kept, for how long, and what happens when one turns out to be dead."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.http.upstream import ConnectionLost, StreamedBody, UpstreamPool
from tests.unit.http.upstream.scripted import OK, Peer, answering, answering_once, serving


async def get(pool: UpstreamPool, method: bytes = b"GET", body: bytes = b"") -> bytes:
    response = await pool.exchange(method, b"/", [(b"host", b"x")], body)
    return b"".join([chunk async for chunk in response])


async def test_given_keep_alive_when_requests_follow_each_other_then_they_share_a_connection() -> None:
    async with serving(answering()) as server:
        pool = server.pool()
        for _ in range(3):
            assert await get(pool) == b"ok"
        assert (len(server.peers), pool.idle) == (1, 1)
        pool.close()
        await server.peers[0].left.wait()


async def test_given_many_idle_connections_when_one_is_needed_then_the_last_used_is_taken() -> None:
    async with serving(answering()) as server:
        pool = server.pool()
        first = await pool.exchange(b"GET", b"/", [], b"")
        second = await pool.exchange(b"GET", b"/", [], b"")
        assert (first.ended, second.ended, len(server.peers)) == (True, True, 1)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(get, pool)
        used = len(server.peers)
        last = pool._idle[-1]
        await get(pool)

        assert pool._idle[-1] is last
        assert len(server.peers) == used


async def test_given_more_than_ten_connections_when_they_become_idle_then_ten_are_kept() -> None:
    everybody = trio.Event()
    waiting = 0

    async def script(peer: Peer) -> None:
        nonlocal waiting
        await peer.request()
        waiting += 1
        if waiting == 12:
            everybody.set()
        await everybody.wait()
        await peer.send(OK)
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool()
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(get, pool)
        assert (len(server.peers), pool.idle) == (12, 10)
        pool.close()
        assert pool.idle == 0


async def test_given_more_than_ten_in_use_when_half_of_them_end_then_all_those_are_kept() -> None:
    everybody, half, rest = trio.Event(), trio.Event(), trio.Event()
    waiting = answered = 0

    async def script(peer: Peer) -> None:
        nonlocal waiting
        await peer.request()
        waiting += 1
        late = waiting > 20
        if waiting == 40:
            everybody.set()
        await (rest if late else everybody).wait()
        await peer.send(OK)
        await peer.gone()

    async def get_and_count(pool: UpstreamPool) -> None:
        nonlocal answered
        await get(pool)
        answered += 1
        if answered == 20:
            half.set()

    async with serving(script) as server:
        pool = server.pool()
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(get_and_count, pool)
            await half.wait()
            assert pool.idle == 20
            rest.set()
        assert pool.idle == 10


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"and more that nobody asked for",
    ],
)
async def test_given_a_response_that_ends_the_connection_when_read_then_it_is_not_kept(
    response: bytes,
) -> None:
    async with serving(answering(response)) as server:
        pool = server.pool()
        assert await get(pool) == b"ok"
        assert pool.idle == 0
        assert await get(pool) == b"ok"
        assert len(server.peers) == 2


async def test_given_no_length_when_the_upstream_closes_then_the_response_is_whole() -> None:
    async with serving(answering_once(b"HTTP/1.1 200 OK\r\n\r\nok")) as server:
        pool = server.pool()
        assert await get(pool) == b"ok"
        assert pool.idle == 0


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n"),
    ],
)
async def test_given_a_response_without_body_when_read_then_the_connection_is_kept(
    method: bytes, response: bytes
) -> None:
    async with serving(answering(response)) as server:
        pool = server.pool()
        for _ in range(3):
            assert await get(pool, method) == b""
        assert (len(server.peers), pool.idle) == (1, 1)


async def test_given_an_idle_connection_that_was_closed_when_needed_then_a_new_one_is_made() -> None:
    async with serving(answering_once()) as server:
        pool = server.pool()
        assert await get(pool) == b"ok"
        await wait_all_tasks_blocked()
        assert await get(pool, b"POST", b"x") == b"ok"
        assert len(server.peers) == 2


async def test_given_an_idle_connection_with_stray_bytes_when_needed_then_it_is_not_used() -> None:
    stray = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if peer.number == 0:
            await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nidle")
            stray.set()
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool()
        await get(pool)
        await stray.wait()
        assert await get(pool) == b"ok"
        assert len(server.peers) == 2


def closing_on_the_second_request(*, with_reset: bool = False, after: bytes = b"") -> list[object]:
    """Serve one request, take a second and hang up on it; every later connection behaves."""

    async def first(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        if after:
            await peer.send(after)
        if with_reset:
            peer.reset()

    return [first, answering()]


@pytest.mark.parametrize("with_reset", [False, True])
async def test_given_a_connection_closed_just_then_when_nothing_was_answered_then_the_request_is_repeated(
    with_reset: bool,
) -> None:
    async with serving(*closing_on_the_second_request(with_reset=with_reset)) as server:
        pool = server.pool()
        await get(pool)
        assert await get(pool, b"POST", b"body") == b"ok"
        assert len(server.peers) == 2


async def test_given_a_connection_closed_just_then_when_a_byte_was_answered_then_it_is_not_repeated() -> None:
    async with serving(*closing_on_the_second_request(after=b"H")) as server:
        pool = server.pool()
        await get(pool)
        with pytest.raises(ConnectionLost):
            await get(pool)
        assert len(server.peers) == 1


async def test_given_a_new_connection_when_it_is_closed_without_an_answer_then_it_is_not_repeated() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()

    async with serving(script) as server:
        with pytest.raises(ConnectionLost, match="closed the connection before its response"):
            await get(server.pool())
        assert len(server.peers) == 1


async def test_given_an_upstream_that_hangs_up_late_when_it_may_have_worked_then_it_is_not_repeated(
    mock_clock: MockClock,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        mock_clock.jump(5)

    async with serving(script, answering()) as server:
        pool = server.pool()
        await get(pool)
        with pytest.raises(ConnectionLost):
            await get(pool, b"POST", b"expensive")
        assert len(server.peers) == 1


async def test_given_a_body_that_can_be_read_once_when_sent_then_no_old_connection_is_risked() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"once"

    async with serving(answering()) as server:
        pool = server.pool()
        await get(pool)
        response = await pool.exchange(b"POST", b"/", [], StreamedBody(pieces(), 4))
        assert (response.take(), len(server.peers), pool.idle) == (b"ok", 2, 2)


async def test_given_an_idle_limit_when_it_has_passed_then_the_connection_is_closed_on_the_next_occasion(
    mock_clock: MockClock,
) -> None:
    async with serving(answering()) as server:
        pool = server.pool(idle_conn_s=90)
        await get(pool)
        mock_clock.jump(89)
        await get(pool)
        assert len(server.peers) == 1
        mock_clock.jump(91)
        await get(pool)
        assert (len(server.peers), pool.idle) == (2, 1)
        await server.peers[0].left.wait()


async def test_given_no_idle_limit_when_a_day_has_passed_then_the_connection_is_still_used(
    mock_clock: MockClock,
) -> None:
    async with serving(answering()) as server:
        pool = server.pool(idle_conn_s=0)
        await get(pool)
        mock_clock.jump(86400)
        await get(pool)
        assert len(server.peers) == 1


async def test_given_a_closed_pool_when_a_response_ends_then_its_connection_is_closed_too() -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
        await go_on.wait()
        await peer.send(b"ok")
        await peer.gone()

    async with serving(script) as server:
        pool = server.pool()
        response = await pool.exchange(b"GET", b"/", [])
        pool.close()
        go_on.set()
        assert b"".join([chunk async for chunk in response]) == b"okok"
        assert pool.idle == 0
        await server.peers[0].left.wait()
