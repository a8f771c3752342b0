"""Bytes that no decent client sends, to a real daemon: each ends its own connection at most."""

from __future__ import annotations

import random

import pytest
import trio

from swapd.testing.daemon import Daemon, upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.conformance.server.support import Client
from tests.conformance.server.test_hostile_input import CHUNKED, KEY, REFUSED, SERVED, WEBSOCKET
from tests.setups import asking, chat, config, connection

pytestmark = pytest.mark.real

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
TARGETS = (b"/", b"/v1/chat/completions", b"/upstream/owl/v1/chat/completions", b"/ui/x")


def aimed_at(target: bytes, data: bytes) -> bytes:
    """The same nonsense for another target, where there is one to replace."""
    method, space, rest = data.partition(b" ")
    return method + space + target + rest[1:] if rest.startswith(b"/ HTTP/1.") else data


async def start(daemon: StartDaemon) -> Daemon:
    return await daemon(config({"owl": upstream_command()}))


async def is_well(swapd: Daemon, others: Client) -> bool:
    """Whether an ordinary request is answered: on a new connection, and on one that was there before."""
    async with connection(swapd) as client:
        new = await client.ask(HEALTH)
    old = await others.ask(HEALTH)
    return (new.status, new.body, old.status, old.body) == (200, b"OK", 200, b"OK")


async def send_eof(client: Client) -> None:
    """Say that nothing more comes; the server may have ended the connection by then."""
    try:
        await client.stream.send_eof()
    except trio.BrokenResourceError:
        pass


async def ended_well(swapd: Daemon) -> None:
    """The daemon has seen no error of its own, and goes in order."""
    assert await swapd.stop() == 0
    assert "Traceback" not in swapd.output
    assert "[ERROR]" not in swapd.output
    assert "internal error" not in swapd.output


@pytest.mark.parametrize("target", TARGETS)
async def test_given_what_cannot_be_understood_when_sent_then_it_ends_its_own_connection_only(
    daemon: StartDaemon, target: bytes
) -> None:
    swapd = await start(daemon)
    async with connection(swapd) as others:
        assert await is_well(swapd, others)
        for name, (data, status) in REFUSED.items():
            async with connection(swapd) as client:
                # When something impossible arrives
                await client.send_quietly(aimed_at(target, data))
                # Then it is refused, at the latest when its body is read; its connection ends
                got = await client.answer()
                assert got.status in {status, 403, 404, 405}, (name, got)
                assert got["connection"] == "close", name
                await send_eof(client)
                assert await client.ended(), name
            # And nobody else notices
            assert await is_well(swapd, others), name
    await ended_well(swapd)


@pytest.mark.parametrize("target", TARGETS)
async def test_given_what_is_odd_when_sent_then_it_is_answered_and_nobody_else_notices(
    daemon: StartDaemon, target: bytes
) -> None:
    swapd = await start(daemon)
    async with connection(swapd) as others:
        for name, data in SERVED.items():
            async with connection(swapd) as client:
                # When something odd arrives
                got = await client.ask(aimed_at(target, data))
                # Then it is answered like any request for what may not be there
                assert 200 <= got.status < 500, (name, got)
            assert await is_well(swapd, others), name
    await ended_well(swapd)


async def test_given_a_websocket_for_nobody_when_garbage_follows_then_nobody_else_notices(
    daemon: StartDaemon,
) -> None:
    swapd = await start(daemon)
    handshake = WEBSOCKET + KEY + b"Sec-WebSocket-Version: 13\r\n\r\n"
    async with connection(swapd) as others:
        for target in TARGETS:
            for frames in (b"\xff" * 100, b"\x81\x05hello", bytes(1000), b"\x88\x00"):
                async with connection(swapd) as client:
                    await client.send_quietly(aimed_at(target, handshake) + frames)
                    assert (await client.head()).status >= 400 or target.startswith(b"/upstream")
                assert await is_well(swapd, others)
    await ended_well(swapd)


async def test_given_an_answer_that_has_begun_when_a_chunk_of_the_request_is_bad_then_the_answer_breaks_off(
    daemon: StartDaemon,
) -> None:
    # Given a server that answers before it has read the whole request
    swapd = await daemon(
        config({"owl": upstream_command("--hold", "--hold-after", "2", "--stall-upload", "1")})
    )
    async with connection(swapd) as others, connection(swapd) as client:
        head = CHUNKED.replace(b"POST / ", b"POST /upstream/owl/v1/chat/completions ")
        await client.send(head + b"3\r\nabc\r\n")
        await swapd.printed(r"\[owl\] starting → ready")
        # When a chunk makes no sense
        await client.send(b"ZZ\r\n")
        # Then the connection ends, whatever was answered, and nobody else notices
        await client.rest()
        assert await is_well(swapd, others)
    await ended_well(swapd)


async def test_given_random_bytes_when_many_clients_send_them_at_once_then_decent_ones_are_served(
    daemon: StartDaemon,
) -> None:
    # Given a daemon, and nonsense that mostly starts out well
    swapd = await start(daemon)
    randomly = random.Random(11)
    opening = asking(chat("owl"))
    nonsense = [opening[: randomly.randrange(len(opening))] + randomly.randbytes(400) for _ in range(200)]

    async def misbehave(data: bytes) -> None:
        async with connection(swapd) as client:
            await client.send_quietly(data)
            await send_eof(client)
            await client.ended()

    # When it is sent by many at once, and a decent request comes in between
    async with connection(swapd) as others, trio.open_nursery() as nursery:
        for number, data in enumerate(nonsense):
            nursery.start_soon(misbehave, data)
            if number % 50 == 0:
                # Then that one is answered
                assert (await others.ask(opening)).status == 200
    async with connection(swapd) as client:
        assert (await client.ask(opening)).status == 200
    await ended_well(swapd)
