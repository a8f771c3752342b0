"""Anthropic's own Python client, through the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
import trio

from tests.conformance.requests.world import World

MESSAGES: Any = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def client(world: World) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=world.url, api_key="any", max_retries=0) as made:
        yield made


def test_messages(world: World, client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="eyes", max_tokens=50, messages=MESSAGES)
    assert answer.content[0].type == "text"
    assert answer.usage.output_tokens > 0
    assert world.seen().json()["model"] == "real"
    assert {"any", "Bearer any"} & {value for _, value in world.seen().headers}


def test_streamed_messages(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="m1", max_tokens=50, messages=MESSAGES) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 3
    assert message.content[0].type == "text"
    assert message.content[0].text == "".join(pieces)


def test_count_tokens(client: anthropic.Anthropic) -> None:
    assert client.messages.count_tokens(model="m1", messages=MESSAGES).input_tokens > 0


def test_errors_are_understood(client: anthropic.Anthropic, guarded: World) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="nope", max_tokens=5, messages=MESSAGES)
    body: Any = missing.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    assert missing.value.request_id or body["request_id"]
    with (
        anthropic.Anthropic(base_url=guarded.url, api_key="wrong", max_retries=0) as wrong,
        pytest.raises(anthropic.AuthenticationError),
    ):
        wrong.messages.create(model="m1", max_tokens=5, messages=MESSAGES)
    with anthropic.Anthropic(base_url=guarded.url, api_key="secret", max_retries=0) as right:
        assert right.messages.create(model="m1", max_tokens=5, messages=MESSAGES).content
    assert guarded.seen().header("x-api-key") is None


async def test_the_asynchronous_client_too(world: World) -> None:
    async def talk() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=world.url, api_key="any", max_retries=0) as client,
            client.messages.stream(model="m1", max_tokens=50, messages=MESSAGES) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert await trio.to_thread.run_sync(lambda: asyncio.run(talk()))
