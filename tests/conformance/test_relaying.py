"""What passes through a real daemon arrives as it was sent, whatever its size, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio

from swapd.testing.daemon import Daemon, upstream_command
from swapd.testing.fixtures import StartDaemon
from swapd.testing.upstream.plain import reproducible_bytes, reproducible_sha256
from tests.setups import address, asking, chat, config, connection

pytestmark = pytest.mark.real

MB = 1_000_000


def memory_kb(swapd: Daemon) -> int:
    """The resident memory of the daemon itself, in KiB."""
    status = Path(f"/proc/{swapd.pid}/status").read_text()
    [size] = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(size)


async def start(daemon: StartDaemon) -> Daemon:
    """A daemon that has relayed a little, so that what it loads when it is needed is there."""
    swapd = await daemon(config({"owl": {"cmd": upstream_command(), "concurrencyLimit": 30}}))
    async with swapd.client() as client:
        assert (await client.get("/upstream/owl/test/bytes/100000")).status_code == 200
    return swapd


@pytest.mark.parametrize("query", ["", "?length=1"])
async def test_given_a_large_download_when_relayed_then_every_byte_arrives_and_no_memory_is_kept(
    daemon: StartDaemon, query: str
) -> None:
    swapd = await start(daemon)
    before = memory_kb(swapd)
    checksum = hashlib.sha256()
    async with (
        swapd.client() as client,
        client.stream("GET", f"/upstream/owl/test/bytes/{100 * MB}{query}") as answer,
    ):
        async for piece in answer.aiter_raw():
            checksum.update(piece)
        assert answer.headers.get("content-length") == (str(100 * MB) if query else None)
    assert checksum.hexdigest() == reproducible_sha256(100 * MB)
    assert memory_kb(swapd) - before < 8192


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_given_a_large_upload_when_relayed_then_every_byte_arrives_and_no_memory_is_kept(
    daemon: StartDaemon, framing: str
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for block in reproducible_bytes(100 * MB):
            yield block
            await trio.lowlevel.checkpoint()

    swapd = await start(daemon)
    before = memory_kb(swapd)
    headers = {"Content-Length": str(100 * MB)} if framing == "length" else {}
    async with swapd.client() as client:
        echo = (await client.post("/upstream/owl/test/echo", content=body(), headers=headers)).json()
    assert (echo["body_length"], echo["body_sha256"]) == (100 * MB, reproducible_sha256(100 * MB))
    sent = {name.lower() for name, _ in echo["headers"]}
    assert ("content-length" in sent, "transfer-encoding" in sent) == (
        framing == "length",
        framing == "chunked",
    )
    assert memory_kb(swapd) - before < 8192


async def test_given_clients_that_do_not_read_when_much_is_sent_to_them_then_no_memory_is_taken(
    daemon: StartDaemon,
) -> None:
    # Given twenty clients that ask for much and read nothing
    swapd = await start(daemon)
    before = memory_kb(swapd)
    request = b"GET /upstream/owl/test/bytes/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (100 * MB)
    async with trio.open_nursery() as nursery:

        async def stall(task_status: trio.TaskStatus[None]) -> None:
            async with connection(swapd) as client:
                await client.send(request)
                assert (await client.head()).status == 200
                task_status.started()
                await trio.sleep_forever()

        for _ in range(20):
            await nursery.start(stall)
        # When others are served meanwhile
        async with connection(swapd) as client:
            for _ in range(50):
                assert (await client.ask(asking(chat("owl")))).status == 200
        # Then what is on its way waits at its sender
        assert memory_kb(swapd) - before < 20 * 512
        nursery.cancel_scope.cancel()


async def test_given_a_truncated_answer_when_relayed_then_it_is_not_made_to_look_whole(
    daemon: StartDaemon,
) -> None:
    swapd = await start(daemon)
    async with connection(swapd) as client:
        await client.send(b"GET /upstream/owl/test/truncated HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await client.head()
        assert head["content-length"] == str(2 * 65536)
        try:
            assert len(await client.rest()) <= 65536
        except trio.BrokenResourceError:
            pass


async def test_given_a_stream_of_many_events_when_relayed_then_it_equals_what_was_sent(
    daemon: StartDaemon,
) -> None:
    swapd = await daemon(config({"owl": upstream_command("--tokens", "20000")}))
    body = chat("owl", stream=True, stream_options={"include_usage": True})
    async with swapd.client() as client:
        through = await client.post("/v1/chat/completions", json=body)
        async with httpx.AsyncClient(base_url=await address(client, "owl"), trust_env=False) as direct:
            expected = await direct.post("/v1/chat/completions", json=body)
    assert through.content == expected.content
    assert through.content.count(b"data: ") > 20_000
