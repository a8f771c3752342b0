"""Tool calls of a real llama.cpp model, through the daemon, as the clients of the field understand them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
import trio

from swapd.testing.fixtures import StartDaemon
from tests.llama.conftest import Serve
from tests.llama.test_answers import WEATHER_TOOL
from tests.setups import config

pytestmark = pytest.mark.llama

MESSAGES: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL: Any = WEATHER_TOOL


@pytest.fixture
async def url(daemon: StartDaemon, serve: Serve) -> AsyncIterator[str]:
    running = await daemon(config({"smith": serve("tool")}))
    yield running.url


def assert_weather(name: str | None, arguments: str) -> None:
    assert name == "weather"
    assert "Paris" in json.loads(arguments)["city"]


async def test_given_a_tool_when_asked_with_openais_client_then_its_call_comes_back(url: str) -> None:
    def ask() -> None:
        with openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0) as client:
            answer = client.chat.completions.create(
                model="smith", messages=MESSAGES, tools=[TOOL], temperature=0
            )
            (call,) = answer.choices[0].message.tool_calls or ()
            assert call.type == "function"
            assert_weather(call.function.name, call.function.arguments)
            assert answer.choices[0].finish_reason == "tool_calls"

    await trio.to_thread.run_sync(ask)


async def test_given_a_tool_when_streamed_to_openais_client_then_the_pieces_make_its_call(url: str) -> None:
    def ask() -> None:
        with openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0) as client:
            stream = client.chat.completions.create(
                model="smith", messages=MESSAGES, tools=[TOOL], temperature=0, stream=True
            )
            chunks = [chunk.choices[0] for chunk in stream if chunk.choices]
        assert_weather(*put_together(chunks))
        assert chunks[-1].finish_reason == "tool_calls"

    await trio.to_thread.run_sync(ask)


async def test_given_a_tool_when_streamed_to_the_asynchronous_client_then_the_pieces_make_its_call(
    url: str,
) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="any", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="smith", messages=MESSAGES, tools=[TOOL], temperature=0, stream=True
            )
            chunks = [chunk.choices[0] async for chunk in stream if chunk.choices]
        assert_weather(*put_together(chunks))

    await trio.to_thread.run_sync(lambda: asyncio.run(ask()))


async def test_given_a_tool_when_asked_with_anthropics_client_then_its_use_comes_back(url: str) -> None:
    tool: Any = {
        "name": "weather",
        "input_schema": TOOL["function"]["parameters"],
    }

    def ask() -> None:
        with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
            with client.messages.stream(
                model="smith",
                max_tokens=60,
                messages=MESSAGES,
                tools=[tool],
                extra_body={"temperature": 0},
            ) as stream:
                message = stream.get_final_message()
            (use,) = [block for block in message.content if block.type == "tool_use"]
            assert_weather(use.name, json.dumps(use.input))
            assert message.stop_reason == "tool_use"

    await trio.to_thread.run_sync(ask)


def put_together(choices: list[Any]) -> tuple[str | None, str]:
    """Name and arguments of the one call whose pieces these are."""
    pieces = [call.function for choice in choices for call in choice.delta.tool_calls or ()]
    assert len(pieces) > 2
    return pieces[0].name, "".join(piece.arguments or "" for piece in pieces)
