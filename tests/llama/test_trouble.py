"""When a real llama.cpp server, its model file or its client gives trouble."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import llama_command
from swapd.testing.fixtures import StartDaemon
from swapd.testing.gguf import CHAT_TEXT, Kind
from tests.llama.conftest import Serve
from tests.setups import asking, chat, config, connection, error

pytestmark = pytest.mark.llama

ENDLESS = chat("owl", stream=True, ignore_eos=True, max_tokens=-1)
"""Would take minutes: the tiny models never stop by themselves when told to ignore the end of the turn."""


async def test_given_a_client_that_leaves_in_mid_stream_when_the_next_asks_then_the_only_slot_is_free(
    daemon: StartDaemon, serve: Serve
) -> None:
    # Given a server with one slot, busy with an answer without end
    swapd = await daemon(config({"owl": serve("chat", "-np", "1", "-c", "32768")}))
    async with swapd.client() as client:
        async with connection(swapd) as reader:
            await reader.send(asking(ENDLESS))
            assert (await reader.head()).status == 200
            assert (await reader.chunk()).startswith(b"data: {")
            slots = (await client.get("/upstream/owl/slots")).json()
            assert [slot["is_processing"] for slot in slots] == [True]
        # When its client leaves, and another asks
        answer = await client.post("/v1/chat/completions", json=chat("owl", temperature=0))
        # Then that one is served, and the first was not generated to its end
        assert answer.json()["choices"][0]["message"]["content"].strip() == CHAT_TEXT
        metrics = (await client.get("/upstream/owl/metrics")).text
        [generated] = re.findall(r"^llamacpp:tokens_predicted_total (\d+)", metrics, re.MULTILINE)
        assert int(generated) < 20_000


async def test_given_a_client_that_leaves_before_the_head_when_the_next_asks_then_the_only_slot_is_free(
    daemon: StartDaemon, serve: Serve
) -> None:
    # Given a server with one slot, busy with an answer that only comes when it is complete
    swapd = await daemon(config({"owl": serve("chat", "-np", "1", "-c", "32768")}))
    async with swapd.client() as client:
        await client.post("/v1/chat/completions", json=chat("owl", max_tokens=1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/completions", json={**ENDLESS, "stream": False}))
            while not (await client.get("/upstream/owl/slots")).json()[0]["is_processing"]:
                await trio.lowlevel.checkpoint()
            # When its client leaves
            nursery.cancel_scope.cancel()
        # Then the next one is served
        answer = await client.post("/v1/chat/completions", json=chat("owl", temperature=0))
        assert answer.json()["choices"][0]["message"]["content"].strip() == CHAT_TEXT


@pytest.mark.parametrize("damage", ["cut off", "no GGUF", "missing"])
async def test_given_a_broken_model_file_when_asked_for_then_llama_cpp_says_why_and_the_other_model_works(
    daemon: StartDaemon, serve: Serve, tiny_model: Callable[[Kind], Path], tmp_path: Path, damage: str
) -> None:
    # Given a model whose file cannot be used, and one whose file can
    broken = tmp_path / "broken.gguf"
    if damage == "cut off":
        broken.write_bytes(tiny_model("chat").read_bytes()[:100_000])
    elif damage == "no GGUF":
        broken.write_text("<html>404 Not Found</html>" * 100)
    swapd = await daemon(config({"broken": llama_command(broken), "owl": serve("chat", "-a", "owl")}))
    async with swapd.client() as client:
        # When the broken one is asked for
        answer = await client.post("/v1/chat/completions", json=chat("broken"))
        # Then the answer says what happened, in llama.cpp's own last words
        assert answer.status_code == 502
        problem = error(answer)
        assert (problem["code"], problem["type"]) == ("upstream_start_failed", "server_error")
        first, *last_words = problem["message"].splitlines()
        assert first == "upstream command exited prematurely: exit status 1"
        assert any("broken.gguf" in line for line in last_words[-5:])
        if damage != "missing":
            assert any("failed to load model" in line for line in last_words)
        # And the other one works
        assert (await client.post("/v1/chat/completions", json=chat("owl"))).status_code == 200


async def test_given_a_server_killed_in_mid_stream_when_reading_then_the_transfer_breaks_and_the_next_works(
    daemon: StartDaemon, serve: Serve
) -> None:
    # Given a stream
    swapd = await daemon(config({"owl": serve("chat", "-c", "32768")}))
    async with connection(swapd) as reader:
        await reader.send(asking(ENDLESS))
        assert (await reader.head()).status == 200
        # When its server is killed
        [process] = swapd.processes
        os.kill(process.pid, signal.SIGKILL)
        # Then the answer does not look as if it were complete
        assert not (await reader.rest()).endswith(b"\r\n0\r\n\r\n")
    # And the next request starts the server anew
    async with swapd.client() as client:
        answer = await client.post("/v1/chat/completions", json=chat("owl", temperature=0))
    assert answer.json()["choices"][0]["message"]["content"].strip() == CHAT_TEXT
    assert [process.pid] != [process.pid for process in swapd.processes]


async def test_given_a_stream_in_progress_when_the_daemon_is_told_to_stop_then_it_ends_whole(
    daemon: StartDaemon, serve: Serve
) -> None:
    # Given a stream
    swapd = await daemon(config({"owl": serve("chat", "-c", "4096")}))
    async with connection(swapd) as reader:
        await reader.send(asking({**ENDLESS, "max_tokens": 1500}))
        assert (await reader.head()).status == 200
        # When the daemon gets SIGTERM
        swapd.signal(signal.SIGTERM)
        # Then the stream is complete
        body = b""
        while part := await reader.chunk():
            body += part
        assert body.endswith(b"data: [DONE]\n\n")
        assert body.count(b"data: ") > 1000
    # And the daemon goes in order, and its model with it
    assert await swapd.exited() == 0
    await swapd.all_gone()
