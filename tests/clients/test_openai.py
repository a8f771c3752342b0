"""OpenAI's own Python client, through the daemon: what it sends arrives, what comes back it understands."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import trio

from swapd.testing.upstream.media import png, wav_tone
from tests.conformance.requests.world import World

MESSAGES: Any = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=world.url + "/v1", api_key="any", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("model", ["m1", "nick", "p1/rm", "pick"])
def test_chat(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=MESSAGES)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_streamed_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="m1", messages=MESSAGES).choices[0].message.content
    stream = client.chat.completions.create(model="m1", messages=MESSAGES, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole
    assert len(pieces) > 3


def test_tools_arrive(world: World, client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    client.chat.completions.create(model="eyes", messages=MESSAGES, tools=[tool], seed=12345678901234567)
    body: Any = world.seen().json()
    assert (body["model"], body["tools"], body["seed"]) == ("real", [tool], 12345678901234567)


def test_responses(client: openai.OpenAI) -> None:
    assert client.responses.create(model="m1", input="Hello").output_text
    events = list(client.responses.create(model="m1", input="Hello", stream=True))
    assert events[-1].type == "response.completed"


def test_completions_and_embeddings(client: openai.OpenAI) -> None:
    assert client.completions.create(model="m1", prompt="Hello").choices[0].text
    rows = client.embeddings.create(model="m1", input=["a", "b"], encoding_format="float").data
    assert [len(row.embedding) for row in rows] == [8, 8]


def test_images(world: World, client: openai.OpenAI) -> None:
    made = client.images.generate(model="m1", prompt="a square")
    assert made.data
    picture = ("in.png", png(8, 8), "image/png")
    edited = client.images.edit(model="eyes", image=picture, prompt="rounder")
    assert edited.data
    sent = bytes(world.seen().body)
    assert png(8, 8) in sent
    assert b'name="model"\r\n\r\nreal\r\n' in sent


def test_audio(world: World, client: openai.OpenAI) -> None:
    tone = wav_tone()
    heard = client.audio.transcriptions.create(model="eyes", file=("a.wav", io.BytesIO(tone), "audio/wav"))
    assert heard.text
    assert tone in bytes(world.seen().body)
    assert client.audio.speech.create(model="m1", voice="alto", input="Hello").content[:4] == b"RIFF"


def test_errors_are_understood(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=MESSAGES)
    assert (missing.value.code, missing.value.type) == ("not_found", "invalid_request_error")
    assert missing.value.request_id
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="off", messages=MESSAGES, stream=True)
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_start_failed")


def test_keys(guarded: World) -> None:
    base = guarded.url + "/v1"
    with openai.OpenAI(base_url=base, api_key="secret", max_retries=0) as right:
        assert right.chat.completions.create(model="m1", messages=MESSAGES).choices
    assert guarded.seen().header("authorization") is None
    with (
        openai.OpenAI(base_url=base, api_key="wrong", max_retries=0) as wrong,
        pytest.raises(openai.AuthenticationError),
    ):
        wrong.models.list()
    with openai.OpenAI(base_url=base, api_key="limited", max_retries=0) as limited:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            limited.chat.completions.create(model="eyes", messages=MESSAGES)
        assert denied.value.code == "model_not_allowed"


async def test_the_asynchronous_client_too(world: World) -> None:
    async def talk() -> str:
        async with openai.AsyncOpenAI(base_url=world.url + "/v1", api_key="any", max_retries=0) as client:
            stream = await client.chat.completions.create(model="m1", messages=MESSAGES, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    assert await trio.to_thread.run_sync(lambda: asyncio.run(talk()))
