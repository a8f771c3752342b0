"""Real llama.cpp servers that take each other's place."""

from __future__ import annotations

import httpx
import pytest
import trio

from swapd.testing.fixtures import StartDaemon
from swapd.testing.gguf import CHAT_TEXT
from tests.llama.conftest import Serve
from tests.setups import chat, config, running

pytestmark = pytest.mark.llama


async def ask(client: httpx.AsyncClient, model: str) -> str:
    """What a chat model says."""
    answer = await client.post("/v1/chat/completions", json=chat(model, temperature=0))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["model"] == model
    return str(body["choices"][0]["message"]["content"]).strip()


async def test_given_two_models_when_asked_in_turn_then_each_takes_the_others_place(
    daemon: StartDaemon, serve: Serve
) -> None:
    # Given two models, neither of them running
    swapd = await daemon(config({"owl": serve("chat", "-a", "owl"), "wren": serve("chat", "-a", "wren")}))
    async with swapd.client() as client:
        assert await running(client) == []
        seen = []
        for model in ("owl", "wren", "owl"):
            # When one is asked
            assert await ask(client, model) == CHAT_TEXT
            # Then it is the only one that runs
            assert await running(client) == [(model, "ready")]
            [process] = swapd.processes
            assert f"-a {model}" in process.command
            seen.append(process.pid)
        # And each time it was a process of its own
        assert len(set(seen)) == 3


async def test_given_models_of_two_kinds_when_listed_then_the_list_says_which_one_is_loaded(
    daemon: StartDaemon, serve: Serve
) -> None:
    swapd = await daemon(config({"owl": serve("chat"), "finch": serve("embedding", "--embeddings")}))

    async def status() -> dict[str, str]:
        return {
            model["id"]: model["status"]["value"] for model in (await client.get("/v1/models")).json()["data"]
        }

    async with swapd.client() as client:
        assert await status() == {"finch": "unloaded", "owl": "unloaded"}
        await client.post("/v1/embeddings", json={"model": "finch", "input": "x"})
        assert await status() == {"finch": "loaded", "owl": "unloaded"}
        await client.post("/v1/completions", json={"model": "owl", "prompt": "x", "max_tokens": 1})
        assert await status() == {"finch": "unloaded", "owl": "loaded"}


@pytest.mark.parametrize(
    ("method", "path", "reply"),
    [
        ("GET", "/unload", "OK"),
        ("POST", "/api/models/unload", '{"msg":"ok"}\n'),
        ("POST", "/api/models/unload/owl", "OK"),
    ],
)
async def test_given_a_running_model_when_unloaded_then_it_is_gone_and_can_be_started_again(
    daemon: StartDaemon, serve: Serve, method: str, path: str, reply: str
) -> None:
    swapd = await daemon(config({"owl": serve("chat", "-a", "owl")}))
    async with swapd.client() as client:
        # Given a running model
        await ask(client, "owl")
        [first] = swapd.processes
        # When it is unloaded
        answer = await client.request(method, path)
        # Then its process has gone by the time of the answer
        assert (answer.status_code, answer.text) == (200, reply)
        assert swapd.processes == []
        assert await running(client) == []
        # And the next request starts it anew
        assert await ask(client, "owl") == CHAT_TEXT
        [second] = swapd.processes
        assert second.pid != first.pid


async def test_given_a_model_that_is_not_running_when_many_ask_at_once_then_it_is_started_once(
    daemon: StartDaemon, serve: Serve
) -> None:
    swapd = await daemon(config({"owl": serve("chat", "-a", "owl", "-np", "2")}))
    answers: list[str] = []
    async with swapd.client() as client:

        async def one() -> None:
            answers.append(await ask(client, "owl"))

        # When ten clients ask at once
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        # Then all of them are answered by the same process
        assert answers == [CHAT_TEXT] * 10
        assert swapd.output.count("[owl] stopped → starting") == 1


async def test_given_two_models_when_two_clients_ask_over_and_over_then_both_get_all_their_answers(
    daemon: StartDaemon, serve: Serve
) -> None:
    swapd = await daemon(config({"owl": serve("chat", "-a", "owl"), "wren": serve("chat", "-a", "wren")}))
    answers: list[str] = []
    async with swapd.client() as client:

        async def insist(model: str) -> None:
            for _ in range(3):
                answers.append(await ask(client, model))

        # When two clients want different models at the same time, several times
        async with trio.open_nursery() as nursery:
            nursery.start_soon(insist, "owl")
            nursery.start_soon(insist, "wren")
        # Then nobody misses anything, and the models never ran together
        assert answers == [CHAT_TEXT] * 6
        assert len(swapd.processes) == 1


async def test_given_a_stream_in_progress_when_another_model_is_asked_for_then_the_stream_ends_whole_first(
    daemon: StartDaemon, serve: Serve
) -> None:
    swapd = await daemon(
        config({"owl": serve("chat", "-a", "owl", "-c", "4096"), "wren": serve("chat", "-a", "wren")})
    )
    order: list[str] = []
    async with swapd.client() as client:

        async def other() -> None:
            await ask(client, "wren")
            order.append("wren")

        # Given a long answer on its way
        long = chat("owl", stream=True, ignore_eos=True, max_tokens=1500)
        async with (
            trio.open_nursery() as nursery,
            client.stream("POST", "/v1/chat/completions", json=long) as answer,
        ):
            lines = answer.aiter_lines()
            await anext(lines)
            # When another model is asked for
            nursery.start_soon(other)
            rest = [line async for line in lines if line]
            order.append("owl")
        # Then the answer was not cut, and the other came after it
        assert rest[-1] == "data: [DONE]"
        assert len(rest) > 1000
        assert order == ["owl", "wren"]
