"""Clients that leave before they have their answer: what was done for them ends with them."""

from __future__ import annotations

import pytest
import trio

from swapd.testing.daemon import upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.setups import asking, chat, config, connection, running

pytestmark = pytest.mark.real

BIG = chat("owl", padding="x" * 300_000)
"""Too big to be sent in one go: the proxy reads the answer while the body is still on its way."""


@pytest.mark.parametrize(
    ("body", "flags"),
    [
        (chat("owl"), ("--hold",)),
        (BIG, ("--hold",)),
        (chat("owl", stream=True), ("--hold", "--hold-after", "3")),
        (BIG | {"stream": True}, ("--hold", "--hold-after", "3")),
    ],
)
async def test_given_a_request_being_served_when_its_client_leaves_then_the_upstream_is_told_to_stop(
    daemon: StartDaemon, body: dict[str, object], flags: tuple[str, ...]
) -> None:
    # Given a request that is being served, at a model that serves one at a time
    swapd = await daemon(config({"owl": {"cmd": upstream_command(*flags), "concurrencyLimit": 1}}))
    async with connection(swapd) as reader:
        await reader.send(asking(body))
        await swapd.printed(r"\[owl\] starting → ready")
        async with swapd.upstream("owl") as upstream:
            await upstream.received(1)
            if body.get("stream"):
                assert (await reader.head()).status == 200
            # When its client leaves
            await reader.close()
            # Then the server sees it leave too
            with trio.fail_after(5):
                [exchange] = await upstream.aborted(1)
            assert exchange["outcome"] == "aborted"
            # And its place is free
            await upstream.set(hold=False)
            async with swapd.client() as client:
                assert (await client.post("/v1/chat/completions", json=chat("owl"))).status_code == 200


async def test_given_an_upload_that_is_stuck_when_its_client_leaves_then_the_upstream_is_told_to_stop(
    daemon: StartDaemon,
) -> None:
    # Given a request whose body the server does not take
    swapd = await daemon(
        config({"owl": {"cmd": upstream_command("--stall-upload", "1KiB"), "concurrencyLimit": 1}})
    )
    async with connection(swapd) as reader:
        await reader.send(asking(chat("owl", padding="x" * 20_000_000)))
        await swapd.printed(r"\[owl\] starting → ready")
        async with swapd.upstream("owl") as upstream:
            # When its client leaves
            await reader.close()
            # Then its place is free, although the server still does not read
            async with swapd.client() as client:
                assert (await client.post("/v1/chat/completions", json=chat("owl"))).status_code == 200
            # And once it does, it finds that it was left
            await upstream.release()
            [exchange] = await upstream.aborted(1)
            assert 1024 <= exchange["body_length"] < 20_000_000


async def test_given_a_stream_nobody_reads_when_its_client_leaves_then_the_upstream_is_told_to_stop(
    daemon: StartDaemon,
) -> None:
    # Given a stream that is stuck, because its client does not read
    swapd = await daemon(config({"owl": upstream_command("--tokens", "200000")}))
    async with connection(swapd) as reader:
        await reader.send(asking(chat("owl", stream=True)))
        assert (await reader.head()).status == 200
        async with swapd.upstream("owl") as upstream:
            # When the client leaves
            await reader.close()
            # Then the server sees it leave too
            with trio.fail_after(5):
                await upstream.aborted(1)


async def test_given_a_queued_request_when_its_client_leaves_then_its_model_is_never_started(
    daemon: StartDaemon,
) -> None:
    # Given a busy model, and a request for another one that has to wait for it
    swapd = await daemon(
        config({"owl": upstream_command("--hold"), "wren": upstream_command(), "finch": upstream_command()})
    )
    async with swapd.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.post("/v1/chat/completions", json=chat("owl")))
        await swapd.printed(r"\[owl\] starting → ready")
        async with swapd.upstream("owl") as upstream, connection(swapd) as waiting:
            await upstream.received(1)
            await waiting.send(asking(chat("wren")))
            await swapd.queued("wren", 1)
            # When its client leaves, and the busy model is done
            await waiting.close()
            await upstream.release()
        # Then the next one in the queue gets its model, the one that left does not
        assert (await client.post("/v1/chat/completions", json=chat("finch"))).status_code == 200
        assert await running(client) == [("finch", "ready")]
        assert "[wren] stopped → starting" not in swapd.output


async def test_given_a_model_that_is_starting_when_its_only_client_leaves_then_another_can_be_started_at_once(
    daemon: StartDaemon,
) -> None:
    # Given a model that takes for ever to start, and one client that waits for it
    swapd = await daemon(config({"owl": upstream_command("--load", "1h"), "wren": upstream_command()}))
    async with connection(swapd) as waiting:
        await waiting.send(asking(chat("owl")))
        await swapd.printed(r"\[owl\] stopped → starting")
        # When it leaves, and another model is asked for
        await waiting.close()
        async with swapd.client() as client:
            answer = await client.post("/v1/chat/completions", json=chat("wren"))
            # Then the start that nobody waits for is given up
            assert answer.status_code == 200
            assert await running(client) == [("wren", "ready")]
