"""The APIs that the fake upstream speaks, over a real socket."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from swapd.testing.upstream.local import LocalUpstream
from swapd.testing.upstream.plain import reproducible_sha256

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
async def client(upstream: LocalUpstream) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=upstream.url, trust_env=False) as client:
        yield client


def events(response: httpx.Response) -> list[Any]:
    assert response.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_chat(upstream: LocalUpstream, client: httpx.AsyncClient) -> None:
    upstream.set(tokens=4, cached=1, draft=6, draft_accepted=2)
    body = (await client.post("/v1/chat/completions", json=CHAT)).json()
    assert body["model"] == "m"
    assert body["choices"][0]["message"]["content"] == "Hello from the fake"
    assert body["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    timings = body["timings"]
    assert (timings["prompt_n"], timings["predicted_n"], timings["cache_n"]) == (2, 4, 1)
    assert (timings["draft_n"], timings["draft_n_accepted"]) == (6, 2)


async def test_chat_streamed_ends_with_timings_and_done(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/chat/completions", json={**CHAT, "stream": True, "max_tokens": 2})
    *parts, last, done = events(response)
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in parts) == "Hello from"
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["timings"]["predicted_n"] == 2
    assert done == "[DONE]"


async def test_chat_streamed_with_usage_ends_with_a_chunk_of_its_own(client: httpx.AsyncClient) -> None:
    asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    *_, usage, _done = events(await client.post("/v1/chat/completions", json=asked))
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 19


async def test_completions(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/v1/completions", json={"prompt": "a b", "max_tokens": 1})).json()
    streamed = events(await client.post("/v1/completions", json={"prompt": "a b", "stream": True}))
    assert whole["choices"][0] == {"index": 0, "text": "Hello", "finish_reason": "length"}
    assert streamed[-1] == "[DONE]"
    assert streamed[0]["choices"][0]["text"] == "Hello"


async def test_llamacpp_completion_and_infill(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/completion", json={"prompt": "a b c", "n_predict": 2})).json()
    streamed = events(await client.post("/infill", json={"input_prefix": "a", "stream": True}))
    assert (whole["content"], whole["tokens_evaluated"], whole["stop_type"]) == ("Hello from", 3, "limit")
    assert streamed[-1]["stop"] is True
    assert streamed[-1]["timings"]["predicted_n"] == 16


async def test_messages(client: httpx.AsyncClient) -> None:
    asked = {"model": "m", "max_tokens": 2, "system": "be kind", "messages": CHAT["messages"]}
    whole = (await client.post("/v1/messages", json=asked)).json()
    counted = (await client.post("/v1/messages/count_tokens", json=asked)).json()
    streamed = await client.post("/v1/messages", json={**asked, "stream": True})
    assert whole["content"] == [{"type": "text", "text": "Hello from"}]
    assert whole["usage"] == {"input_tokens": 5, "output_tokens": 2}
    assert counted == {"input_tokens": 5}
    names = [
        line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event: ")
    ]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    assert names == [event["type"] for event in events(streamed)]


async def test_responses(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/v1/responses", json={"input": "a b", "max_output_tokens": 1})).json()
    streamed = events(await client.post("/v1/responses", json={"input": "a b", "stream": True}))
    assert whole["output"][0]["content"][0]["text"] == "Hello"
    assert whole["usage"]["input_tokens"] == 2
    assert [event["sequence_number"] for event in streamed] == list(range(len(streamed)))
    assert streamed[-1]["type"] == "response.completed"
    assert streamed[-1]["response"]["usage"]["output_tokens"] == 16


async def test_embeddings_depend_on_the_text_alone(client: httpx.AsyncClient) -> None:
    body = (await client.post("/v1/embeddings", json={"input": ["cat", "dog", "cat"]})).json()
    cat, dog, again = (row["embedding"] for row in body["data"])
    assert cat == again != dog
    assert sum(x * x for x in cat) == pytest.approx(1.0)


async def test_rerank_puts_the_best_first(client: httpx.AsyncClient) -> None:
    asked = {"query": "blue sky", "documents": ["green grass", "the blue sky"]}
    results = (await client.post("/v1/rerank", json=asked)).json()["results"]
    assert [row["index"] for row in results] == [1, 0]


async def test_pictures_and_sounds_are_real_files(client: httpx.AsyncClient) -> None:
    image = (await client.post("/v1/images/generations", json={"prompt": "x"})).json()
    sd = (await client.post("/sdapi/v1/txt2img", json={"prompt": "x"})).json()
    speech = await client.post("/v1/audio/speech", json={"input": "x"})
    assert base64.b64decode(image["data"][0]["b64_json"]).startswith(b"\x89PNG\r\n")
    assert base64.b64decode(sd["images"][0]).startswith(b"\x89PNG\r\n")
    assert speech.headers["content-type"] == "audio/wav"
    assert speech.content.startswith(b"RIFF")


async def test_the_rest(client: httpx.AsyncClient) -> None:
    transcription = await client.post(
        "/v1/audio/transcriptions", files={"file": b"RIFF"}, data={"model": "m"}
    )
    assert transcription.json()["text"].startswith("Hello")
    assert (await client.post("/tokenize", json={"content": "ab c"})).json() == {"tokens": [2, 1]}
    assert len((await client.get("/v1/audio/voices")).json()["voices"]) == 2
    assert (await client.get("/props")).json()["total_slots"] == 1
    assert (await client.get("/v1/models")).json()["data"][0]["object"] == "model"
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_an_unknown_path_is_a_404_in_the_usual_shape(client: httpx.AsyncClient) -> None:
    response = await client.get("/nothing")
    assert response.status_code == 404
    assert "no GET /nothing" in response.json()["error"]["message"]


@pytest.mark.parametrize("query", ["", "?length=1"])
async def test_bytes_are_reproducible(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get("/test/bytes/300001" + query)
    assert ("content-length" in response.headers) is bool(query)
    assert sha256(response.content).hexdigest() == reproducible_sha256(300_001)


async def test_echo_reports_what_arrived(client: httpx.AsyncClient) -> None:
    body = b"x" * 200_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7000):
            yield body[start : start + 7000]

    echo = (await client.post("/test/echo?a=b", content=pieces(), headers={"X-Own": "1"})).json()
    assert echo["target"] == "/test/echo?a=b"
    assert ["X-Own", "1"] in echo["headers"]
    assert (echo["body_length"], echo["body_sha256"]) == (len(body), sha256(body).hexdigest())


async def test_a_truncated_answer_breaks_off(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/test/truncated")
