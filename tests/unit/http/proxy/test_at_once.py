"""Requests that are served on a kept connection, without a cancel scope, and how they end when revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapd.nursery.events import Revocation, StateChanged
from swapd.nursery.states import ModelState
from tests.unit.http.proxy.test_both_sides import POST, Site, read_until, rest_of, site
from tests.unit.http.proxy.test_proxy import Echo, world
from tests.unit.http.upstream.scripted import OK, Peer, Script

CHAT = b'{"model":"m1"}'


@asynccontextmanager
async def warm_site(then: Script) -> AsyncIterator[tuple[Site, trio.SocketStream]]:
    """A proxy that has a connection to its upstream, where `then` goes on; a client with a request on it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await then(peer)

    async with site(script) as s:
        stream = await s.send(POST)
        await read_until(stream, b"ok")
        await stream.send_all(POST + b"Content-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT))
        await wait_all_tasks_blocked(0.02)
        (lease,) = s.world.manager.held
        assert lease.interrupt is not None
        assert len(s.upstream.peers) == 1
        yield s, stream
        with trio.fail_after(5):
            await s.upstream.peers[0].left.wait()
        assert s.world.manager.held == []
        await stream.aclose()


async def hear_only(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


@pytest.mark.parametrize(
    ("why", "status"),
    [
        (Revocation.CANCELLED, b"499"),
        (Revocation.SHUTTING_DOWN, b"503"),
        (Revocation.UPSTREAM_LOST, b"502"),
    ],
)
async def test_given_a_request_that_waits_for_its_answer_when_revoked_then_its_client_is_told(
    why: Revocation, status: bytes
) -> None:
    async with warm_site(hear_only) as (s, stream):
        s.world.manager.revoke(why)
        with trio.fail_after(5):
            answer = await stream.receive_some(65536)
        assert answer.startswith(b"HTTP/1.1 " + status)


async def test_given_a_request_that_waits_when_cancelled_twice_then_its_client_is_told_once() -> None:
    async with warm_site(hear_only) as (s, stream):
        (lease,) = s.world.manager.held
        lease.cancel()
        lease.cancel()
        with trio.fail_after(5):
            assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 499")


@pytest.mark.parametrize("why", list(Revocation))
async def test_given_a_stream_when_revoked_then_it_is_broken_off(why: Revocation) -> None:
    async def begin(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await peer.gone()

    async with warm_site(begin) as (s, stream):
        await read_until(stream, b"one\r\n")
        s.world.manager.revoke(why)
        with trio.fail_after(5):
            assert await rest_of(stream) == b""


@pytest.mark.parametrize("why", list(Revocation))
async def test_given_a_client_that_does_not_read_when_revoked_then_lease_and_upstream_are_free(
    why: Revocation,
) -> None:
    async def flood(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send(b"100000\r\n" + bytes(0x100000) + b"\r\n")

    async with warm_site(flood) as (s, _):
        s.world.manager.revoke(why)


async def test_given_a_kept_connection_that_is_just_closed_when_asked_then_a_new_one_serves() -> None:
    async def close_unanswered(peer: Peer) -> None:
        await peer.request()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        if len(s.upstream.peers) == 1:
            await close_unanswered(peer)

    async with site(script) as s:
        stream = await s.send(POST)
        await read_until(stream, b"ok")
        await stream.send_all(POST + b"Content-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT))
        with trio.fail_after(5):
            assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200")
        assert len(s.upstream.peers) == 2
        await stream.aclose()


async def test_given_an_instance_whose_end_takes_long_when_asked_before_anything_was_sent_then_another_serves(
    autojump_clock: object,
) -> None:
    """Its lease is lost at once; that its process tree is gone may be known only much later."""
    async with world(Echo()) as (w, server):
        w.manager.base_url = "http://127.0.0.1:1"  # the port of tcpmux, where nobody is
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, CHAT)
            await wait_all_tasks_blocked()
            w.manager.revoke(Revocation.UPSTREAM_LOST)
            w.manager.gen, w.manager.base_url = 2, server.url
            await trio.sleep(2)
            w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPED, 1))
        assert (w.answer.status, w.answer.body, w.manager.again) == (200, b"ok", 1)
