"""The Ollama-compatible API: with Ollama's own client, and with plain requests where that is too kind."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest
import trio

from swapd.testing.upstream.media import png
from tests.conformance.requests.world import World


@pytest.fixture
def client(world: World) -> Iterator[ollama.Client]:
    made = ollama.Client(host=world.url, trust_env=False)
    yield made
    made._client.close()


def test_tags_list_what_can_be_asked_for(client: ollama.Client) -> None:
    models = client.list().models
    assert [model.model for model in models] == ["eyes", "m1", "nick", "off", "p1/rm", "pick"]
    assert all(model.digest and len(model.digest) == 64 and model.modified_at for model in models)


def test_show(client: ollama.Client) -> None:
    shown = client.show("eyes")
    assert shown.capabilities == ["completion", "tools", "vision"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["unknown.context_length"] == 4096
    assert client.show("nick").capabilities == ["completion"]
    with pytest.raises(ollama.ResponseError) as error:
        client.show("nope")
    assert (error.value.status_code, error.value.error) == (404, "model 'nope' not found")


def test_version(world: World) -> None:
    version = world.client.get("/api/version").json()["version"]
    assert all(part.isdigit() for part in version.lstrip("v").partition("-")[0].split("."))


@pytest.mark.parametrize("model", ["m1", "nick", "m1:latest", "eyes", "p1/rm", "rm", "pick"])
def test_chat(world: World, client: ollama.Client, model: str) -> None:
    answer = client.chat(model, [{"role": "user", "content": "Hello there"}])
    assert answer.done
    assert answer.done_reason == "stop"
    assert answer.message.role == "assistant"
    assert answer.message.content
    assert (answer.eval_count or 0) > 0
    assert (answer.total_duration or 0) > 0
    assert answer.model == model.removesuffix(":latest")


def test_chat_streams_piece_by_piece(client: ollama.Client) -> None:
    parts = list(client.chat("m1", [{"role": "user", "content": "Hello"}], stream=True))
    assert len(parts) > 3
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    whole = client.chat("m1", [{"role": "user", "content": "Hello"}]).message.content
    assert "".join(part.message.content or "" for part in parts) == whole
    assert (parts[-1].eval_count or 0) > 0
    assert (parts[-1].prompt_eval_count or 0) > 0


def test_chat_is_translated_for_the_upstream(world: World, client: ollama.Client) -> None:
    image = png(4, 4)
    client.chat(
        "eyes",
        [
            {"role": "user", "content": "what is it", "images": [image]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "look", "arguments": {"where": "here"}}}],
            },
            {"role": "tool", "content": "a square", "tool_name": "look"},
        ],
        tools=[{"type": "function", "function": {"name": "look", "description": "d", "parameters": {}}}],
        format={"type": "object"},
        options={"num_predict": 5, "temperature": 0.5, "num_ctx": 9, "stop": ["x"], "repeat_penalty": 1.1},
        think=True,
        keep_alive=60,
    )
    body: Any = world.seen().json()
    assert world.seen().target == "/v1/chat/completions"
    assert body["model"] == "real"
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "what is it"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    (call,) = body["messages"][1]["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"where": "here"}'}
    assert body["messages"][2]["tool_call_id"] == call["id"]
    assert body["tools"][0]["function"]["name"] == "look"
    assert (body["max_tokens"], body["temperature"], body["stop"]) == (5, 0.5, ["x"])
    assert body["repeat_penalty"] == 1.1
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert not {"num_ctx", "keep_alive", "options", "format", "think"} & set(body)


def test_generate(world: World, client: ollama.Client) -> None:
    answer = client.generate("m1", "Hello", system="be short", options={"num_predict": 3})
    assert answer.response
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "length", 3)
    body: Any = world.seen().json()
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    parts = list(client.generate("m1", "Hello", stream=True))
    assert "".join(part.response for part in parts)
    assert parts[-1].done
    raw = client.generate("m1", "Hello", raw=True)
    assert raw.response
    assert (world.seen().target, world.seen().json()["prompt"]) == ("/v1/completions", "Hello")


def test_embed(world: World, client: ollama.Client) -> None:
    one = client.embed("m1", "Hello")
    assert len(one.embeddings) == 1
    two = client.embed("m1", ["Hello", "there"], dimensions=4)
    assert len(two.embeddings) == 2
    assert list(two.embeddings[0]) != list(two.embeddings[1])
    assert world.seen().json()["dimensions"] == 4
    assert len(client.embeddings("m1", "Hello").embedding) == 8


def test_load_ps_and_unload(world: World, client: ollama.Client) -> None:
    assert client.generate("m1").done_reason == "load"
    (running,) = [model for model in client.ps().models if model.model == "m1"]
    assert running.expires_at is not None
    assert running.expires_at.year < 2100
    assert client.chat("m1", [], keep_alive=0).done_reason == "unload"
    assert "m1" not in [model.model for model in client.ps().models]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_ollamas_shape(world: World, client: ollama.Client, stream: bool) -> None:
    for model, status, text in (
        ("nope", 404, "model 'nope' not found"),
        ("off", 502, "upstream command exited prematurely"),
    ):
        with pytest.raises(ollama.ResponseError) as error:
            answer = client.chat(model, [{"role": "user", "content": "x"}], stream=stream)
            list(answer) if stream else None
        assert error.value.status_code == status
        assert text in error.value.error


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/chat", b"", 400),
        ("/api/chat", b"{", 400),
        ("/api/chat", b"[]", 400),
        ("/api/chat", b"{}", 400),
        ("/api/chat", b'{"model":7}', 400),
        ("/api/chat", b'{"model":"m1","messages":7}', 400),
        ("/api/chat", b'{"model":"m1","messages":["x"]}', 400),
        ("/api/chat", b'{"model":"m1","messages":[{"role":"user","content":7}]}', 400),
        ("/api/chat", b'{"model":"m1","messages":[{"content":"x","images":7}]}', 400),
        ("/api/chat", b'{"model":"m1","messages":[{"content":"x","images":["%%%%"]}]}', 400),
        ("/api/chat", b'{"model":"m1","messages":[{"tool_calls":[7]}]}', 400),
        ("/api/chat", b'{"model":"m1","messages":[{"content":"x"}],"options":7}', 400),
        ("/api/generate", b'{"model":"m1","prompt":7}', 400),
        ("/api/embed", b'{"model":"m1"}', 400),
        ("/api/embed", b'{"model":"m1","input":[1]}', 400),
        ("/api/show", b'{"model":"nope"}', 404),
        ("/api/chat", b'{"model":"m1","messages":' + b"[" * 100_000, 400),
        ("/api/chat", b'{"model":"\xff","messages":[]}', 400),
        ("/api/pull", b'{"model":"m1"}', 501),
        ("/api/blobs/sha256:0", b"x", 501),
    ],
)
def test_bad_requests_get_a_clear_error_and_reach_nobody(
    world: World, path: str, body: bytes, status: int
) -> None:
    before = len(world.upstream.requests)
    answer = world.client.post(path, content=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]
    assert answer.headers["x-request-id"]
    assert len(world.upstream.requests) == before


def test_wrong_methods_and_other_paths(world: World) -> None:
    assert world.client.get("/api/chat").status_code == 405
    assert world.client.get("/api/chat").headers["allow"] == "POST"
    assert world.client.post("/api/tags").status_code == 405
    assert world.client.get("/api/nope").status_code == 404


def test_a_stream_is_one_object_a_line(world: World) -> None:
    with world.client.stream(
        "POST", "/api/chat", json={"model": "m1", "messages": [{"role": "user", "content": "x"}]}
    ) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = b"".join(answer.iter_raw()).splitlines()
    assert all(json.loads(line)["model"] == "m1" for line in lines)


def test_an_upstream_that_dies_breaks_the_stream(world: World) -> None:
    world.set_knobs(hold=True, hold_after=2)
    try:
        with world.client.stream(
            "POST", "/api/chat", json={"model": "m1", "messages": [{"role": "user", "content": "x"}]}
        ) as answer:
            lines = answer.iter_raw()
            next(lines)
            world.client.post("/api/models/unload/m1")
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
    finally:
        world.set_knobs(hold=False, hold_after=0)


def test_keys_hold_here_too(guarded: World) -> None:
    ask = {"model": "eyes", "messages": [{"role": "user", "content": "x"}]}
    assert guarded.client.post("/api/chat", json=ask).status_code == 401
    limited = {"Authorization": "Bearer limited"}
    assert guarded.client.post("/api/chat", json=ask, headers=limited).status_code == 403
    assert guarded.client.post("/api/show", json={"model": "eyes"}, headers=limited).status_code == 403
    names = [model["name"] for model in guarded.client.get("/api/tags", headers=limited).json()["models"]]
    assert names == ["m1", "nick", "pick"]
    ok = guarded.client.post("/api/chat", json={**ask, "model": "m1"}, headers=limited)
    assert ok.status_code == 200
    assert guarded.seen().header("authorization") is None


async def test_the_asynchronous_client_too(world: World) -> None:
    async def talk() -> list[str]:
        client = ollama.AsyncClient(host=world.url, trust_env=False)
        try:
            stream = await client.chat("m1", [{"role": "user", "content": "x"}], stream=True)
            return [part.message.content or "" async for part in stream]
        finally:
            await client._client.aclose()

    assert len(await trio.to_thread.run_sync(lambda: asyncio.run(talk()))) > 3
