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
    async with running(daemon, config(flags=("--load", "60s"))) as client, trio.open_nursery() as nursery:
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
        body = b'{"model": "m1", "messages": [], "stream": true}'
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        url = httpx.URL(client.daemon.url)
        async with await trio.open_tcp_stream(url.host, url.port or 80) as connection:
            await connection.send_all(head.encode() + body)
            received = b""
            with trio.fail_after(15):
                while b"data:" not in received:
                    received += await connection.receive_some()

                assert (await client.http.post("/api/inflight/1/cancel")).json() == {"msg": "ok"}

                while data := await receive_or_end(connection):
                    received += data
    assert b"transfer-encoding: chunked" in received.lower()
    assert not received.endswith(b"0\r\n\r\n")


async def receive_or_end(connection: trio.SocketStream) -> bytes:
    """What has come; nothing when the connection is over, in order or not."""
    try:
        return bytes(await connection.receive_some())
    except trio.BrokenResourceError:
        return b""


async def until_it_is_held(client: Client) -> None:
    """Wait until the upstream has got a request."""
    await client.daemon.printed("starting → ready")
    async with client.daemon.upstream("m1") as upstream:
        await upstream.received(at_least=1)
