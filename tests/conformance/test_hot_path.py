"""The last row of what stock hypercorn does: none of what it spends time on happens on the hot path.

That idle connections cost nothing is in tests/unit/http/upstream/test_keep_alive.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import starlette.requests
import starlette.responses
import trio

from tests.conformance.server.support import Client
from tests.setups import asking, chat
from tests.unit.http.proxy.test_both_sides import site
from tests.unit.http.proxy.test_proxy import Echo
from tests.unit.http.upstream.scripted import Peer


class Count(trio.abc.Instrument):
    """Counts the tasks that are started."""

    def __init__(self) -> None:
        self.tasks = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1


@contextmanager
def counting() -> Iterator[Count]:
    count = Count()
    trio.lowlevel.add_instrument(count)
    yield count
    trio.lowlevel.remove_instrument(count)


def forbid(monkeypatch: pytest.MonkeyPatch, *classes: type) -> None:
    """From now on no object of these classes can be made."""
    for each in classes:

        def fail(self: object, *_: object, name: str = each.__name__, **__: object) -> None:
            raise AssertionError(f"the hot path makes a {name}")

        monkeypatch.setattr(each, "__init__", fail)


async def test_a_request_on_a_kept_connection_makes_no_task_and_no_request_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a client and a server that have met before
    async with site(Echo()) as s:
        client = Client(await s.connect())
        request = asking(chat("m1"))
        assert (await client.ask(request)).status == 200
        forbid(monkeypatch, httpx.AsyncClient, httpx.Request, httpx.Response)
        forbid(monkeypatch, starlette.requests.Request, starlette.responses.Response)
        # When they talk on
        with counting() as count:
            for _ in range(20):
                assert (await client.ask(request)).status == 200
        # Then nobody watches over them, and nothing is built for them but bytes
        assert count.tasks == 0
        await client.close()


async def test_a_chunk_of_a_stream_makes_no_task() -> None:
    # Given a stream
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            await asked.acquire()
            await peer.send(b"9\r\ndata: %d\n\n\r\n" % (number % 10))
        await peer.send(b"0\r\n\r\n")

    asked = trio.Semaphore(0)
    async with site(script) as s:
        client = Client(await s.connect())
        await client.send(asking(chat("m1", stream=True)))
        assert (await client.head()).status == 200
        # When its chunks come one by one
        with counting() as count:
            for number in range(20):
                asked.release()
                assert await client.chunk() == b"data: %d\n\n" % (number % 10)
        # Then each is passed on by the task that is there already
        assert count.tasks == 0
        await client.close()
