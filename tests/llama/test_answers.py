"""What a real llama.cpp server answers comes through the daemon as it is."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from swapd.testing.fixtures import StartDaemon
from swapd.testing.gguf import CHAT_TEXT, Kind
from tests.llama.conftest import Serve
from tests.setups import address, chat, config, events

pytestmark = pytest.mark.llama

SEEDED = {"temperature": 0.9, "seed": 7, "max_tokens": 40}

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_given_a_model_when_asked_to_chat_then_it_answers_with_its_usage(
    daemon: StartDaemon, serve: Serve
) -> None:
    # Given a model that is not running
    running = await daemon(config({"owl": serve("chat", "-a", "owl")}))
    async with running.client() as client:
        # When it is asked
        answer = await client.post("/v1/chat/completions", json=chat("owl", temperature=0))
    # Then it was started, and has answered
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert "x-accel-buffering" not in answer.headers
    body = answer.json()
    assert body["model"] == "owl"
    assert body["choices"][0]["message"]["content"].strip() == CHAT_TEXT
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 20


async def test_given_a_model_when_it_streams_then_the_words_come_one_by_one_and_the_usage_last(
    daemon: StartDaemon, serve: Serve
) -> None:
    running = await daemon(config({"owl": serve("chat", "-a", "owl")}))
    body = chat("owl", temperature=0, stream=True, stream_options={"include_usage": True})
    async with running.client() as client:
        # When a chat is streamed
        answer = await client.post("/v1/chat/completions", json=body)
    # Then each word is an event of its own
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    *parts, usage, end = events(answer.text)
    words = [part["choices"][0]["delta"].get("content") or "" for part in parts]
    assert "".join(words).strip() == CHAT_TEXT
    assert len([word for word in words if word]) > 15
    # And behind the last comes the usage, then the end
    assert (usage["choices"], end) == ([], "[DONE]")
    assert usage["usage"]["completion_tokens"] > 15


@pytest.mark.parametrize(
    ("path", "body", "kind", "flags", "expected"),
    [
        ("/v1/completions", {"prompt": "x", "max_tokens": 5}, "chat", (), '"text":" Hello! I am a"'),
        ("/completion", {"prompt": "x", "n_predict": 5}, "chat", (), '"content":" Hello! I am a"'),
        ("/infill", {"input_prefix": "a", "input_suffix": "b", "n_predict": 3}, "chat", (), '"content":'),
        ("/v1/messages", {**chat("m"), "max_tokens": 50}, "chat", (), '"stop_reason":"end_turn"'),
        ("/v1/messages/count_tokens", chat("m"), "chat", (), '"input_tokens":'),
        ("/v1/responses", {"input": "Who are you?"}, "chat", (), "so this text never changes"),
        ("/v1/embeddings", {"input": ["a", "b"]}, "embedding", ("--embeddings",), '"index":1'),
        (
            "/v1/rerank",
            {"query": "a", "documents": ["a", "b"]},
            "rerank",
            ("--reranking",),
            '"relevance_score":',
        ),
        ("/v1/chat/completions", chat("m", tools=[WEATHER_TOOL]), "tool", (), '"name":"weather"'),
        ("/v/embeddings", {"input": "a", "content": "a"}, "embedding", ("--embeddings",), '"embedding":'),
    ],
)
async def test_given_a_route_of_llama_cpp_when_asked_then_it_is_answered(
    daemon: StartDaemon,
    serve: Serve,
    path: str,
    body: dict[str, Any],
    kind: Kind,
    flags: tuple[str, ...],
    expected: str,
) -> None:
    running = await daemon(config({"m": serve(kind, *flags)}))
    async with running.client() as client:
        answer = await client.post(path, json={"temperature": 0, **body, "model": "m"})
    assert answer.status_code == 200, answer.text
    assert expected in answer.text


async def test_given_embeddings_when_asked_for_then_they_depend_on_the_text_alone(
    daemon: StartDaemon, serve: Serve
) -> None:
    running = await daemon(config({"finch": serve("embedding", "--embeddings")}))
    body = {"model": "finch", "input": ["a small bird", "a house", "a small bird"]}
    async with running.client() as client:
        # When three texts are embedded, two of them the same
        answer = (await client.post("/v1/embeddings", json=body)).json()
    # Then there are three vectors, two of them the same
    bird, house, bird_again = [entry["embedding"] for entry in answer["data"]]
    assert len(bird) == 64
    assert bird == bird_again != house
    assert answer["usage"]["prompt_tokens"] > 3


async def test_given_the_servers_own_routes_when_asked_below_upstream_then_they_are_reached(
    daemon: StartDaemon, serve: Serve
) -> None:
    running = await daemon(config({"birds/owl": {"cmd": serve("chat", "-a", "owl"), "aliases": ["night"]}}))
    async with running.client() as client:
        # When routes that only llama.cpp has are asked for, by the model's id and its alias
        tokens = await client.post("/upstream/birds/owl/tokenize", json={"content": "Hello!"})
        models = await client.get("/upstream/night/v1/models")
        slots = await client.get("/upstream/birds/owl/slots")
        lost = await client.get("/upstream/birds/owl/nowhere")
    # Then llama.cpp answers, its errors included
    assert len(tokens.json()["tokens"]) == len("Hello!")
    assert models.json()["data"][0]["id"] == "owl"
    assert [slot["is_processing"] for slot in slots.json()] == [False]
    assert lost.status_code == 404
    assert "src" not in lost.json()


# --- byte by byte -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("owl", **SEEDED, stream=True, stream_options={"include_usage": True})),
        ("/v1/chat/completions", chat("owl", **SEEDED)),
        ("/v1/completions", {"model": "owl", "prompt": "x", **SEEDED, "stream": True}),
        ("/v1/messages", chat("owl", temperature=0, max_tokens=40, stream=True)),  # knows no seed
        ("/v1/chat/completions", {"model": "owl"}),
        ("/v1/embeddings", {"model": "owl", "input": "not an embedding model"}),
    ],
)
async def test_given_a_request_when_asked_directly_too_then_both_answers_are_equal_byte_by_byte(
    daemon: StartDaemon, serve: Serve, path: str, body: dict[str, Any]
) -> None:
    running = await daemon(config({"owl": serve("chat", "-a", "owl")}))
    async with running.client() as client:
        # Given a server that has answered once, so that its cache is filled alike for those that follow
        await client.post(path, json=body)
        # When the same is asked directly and through the daemon
        async with httpx.AsyncClient(base_url=await address(client, "owl"), trust_env=False) as direct:
            expected = await direct.post(path, json=body)
        got = await client.post(path, json=body)
    # Then the answers are equal, but for what llama.cpp makes anew each time
    assert got.status_code == expected.status_code
    assert _masked(got.content) == _masked(expected.content)
    assert _fields(got) == _fields(expected)


def _masked(body: bytes) -> bytes:
    """Without the parts that differ from answer to answer: ids, the time, and how long things took."""
    body = re.sub(rb'"(id|item_id)":"[\w-]{16,}"', rb'"\1":""', body)
    body = re.sub(rb'"(created|created_at|completed_at)":\d+', rb'"\1":0', body)
    return re.sub(rb'("\w+_(ms|second)":)[\d.e+-]+', rb"\g<1>0", body)


def _fields(answer: httpx.Response) -> dict[str, str]:
    """The header fields that a relay passes on unchanged."""
    ours = ("date", "x-accel-buffering", "x-request-id")
    ours += ("connection", "keep-alive", "transfer-encoding", "content-length")
    return {name: value for name, value in answer.headers.items() if name not in ours}
