"""Ending requests that are being answered, against a real daemon."""

from __future__ import annotations

import httpx
import pytest
import trio

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import CHAT, Client, config, running

pytestmark = pytest.mark.real


async def test_case_68_given_no_such_request_when_it_is_cancelled_then_it_is_not_found(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        for id in ("999", "x", "-1", "%31x"):
            answer = await client.http.post(f"/api/inflight/{id}/cancel")

            assert answer.status_code == 404
            assert answer.json()["error"]["message"] == "inflight request not found"


async def test_case_68_given_a_request_without_an_answer_when_it_is_cancelled_then_its_client_is_told(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(flags=("--hold",))) as client, trio.open_nursery() as nursery:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await client.chat())
            nursery.cancel_scope.cancel()

        nursery.start_soon(ask)
        await until_it_is_held(client)

        assert (await client.http.post("/api/inflight/1/cancel")).json() == {"msg": "ok"}

        await trio.sleep_forever()
    assert answers[0].status_code == 499
    assert answers[0].json()["error"]["code"] == "request_cancelled"


async def test_case_68_given_a_request_that_waits_for_its_model_when_it_is_cancelled_then_its_client_is_told(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(flags=("--load-s", "60"))) as client, trio.open_nursery() as nursery:
        answers: list[httpx.Response] = []

        async def ask() -> None:
            answers.append(await client.chat())
            nursery.cancel_scope.cancel()

        nursery.start_soon(ask)
        await client.daemon.printed("stopped → starting")

        assert (await client.http.post("/api/inflight/1/cancel")).json() == {"msg": "ok"}

        await trio.sleep_forever()
    assert answers[0].status_code == 499
    assert answers[0].json()["error"]["code"] == "request_cancelled"


async def test_case_68_given_a_stream_in_progress_when_it_is_cancelled_then_the_transfer_breaks(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(flags=("--hold", "--hold-after", "1"))) as client:
        body = {"model": "m1", "messages": [], "stream": True}
        async with client.http.stream("POST", CHAT, json=body) as response:
            chunks = response.aiter_bytes()
            assert await anext(chunks)

            assert (await client.http.post("/api/inflight/1/cancel")).json() == {"msg": "ok"}

            with trio.fail_after(15), pytest.raises(httpx.RemoteProtocolError):
                async for _ in chunks:
                    pass


async def until_it_is_held(client: Client) -> None:
    """Wait until the upstream has got a request."""
    await client.daemon.printed("starting → ready")
    async with client.daemon.upstream("m1") as upstream:
        await upstream.received(at_least=1)
