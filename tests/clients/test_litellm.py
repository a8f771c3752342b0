"""litellm, through the daemon.

Its installation is larger than that of everything else together (some 350 MB), so it is not among what the
tests bring: `.venv/bin/pip install litellm`, and these run too.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

from tests.conformance.requests.world import World

litellm: Any = pytest.importorskip("litellm")

pytestmark = pytest.mark.filterwarnings("default")  # what it and its parts warn of is not ours

MESSAGES: Any = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def through(world: World) -> dict[str, Any]:
    """How litellm is told to go through the daemon."""
    return {"api_base": world.url + "/v1", "api_key": "any", "num_retries": 0, "max_retries": 0}


@pytest.mark.parametrize("model", ["m1", "nick", "p1/rm"])
def test_chat(through: dict[str, Any], model: str) -> None:
    answer = litellm.completion(model=f"openai/{model}", messages=MESSAGES, **through)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_streamed_chat(through: dict[str, Any]) -> None:
    whole = litellm.completion(model="openai/m1", messages=MESSAGES, **through).choices[0].message.content
    stream = litellm.completion(model="openai/m1", messages=MESSAGES, stream=True, **through)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == whole


def test_the_asynchronous_way(through: dict[str, Any]) -> None:
    async def talk() -> str:
        stream = await litellm.acompletion(model="openai/m1", messages=MESSAGES, stream=True, **through)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert trio.run(trio.to_thread.run_sync, lambda: asyncio.run(talk()))


def test_embeddings(through: dict[str, Any]) -> None:
    rows = litellm.embedding(model="openai/m1", input=["a", "b"], encoding_format="float", **through).data
    assert [len(row["embedding"]) for row in rows] == [8, 8]


def test_the_dialect_of_anthropic(world: World) -> None:
    answer = litellm.completion(
        model="anthropic/m1", messages=MESSAGES, api_base=world.url, api_key="any", max_tokens=50
    )
    assert answer.choices[0].message.content
    assert world.seen().target.startswith("/v1/messages")


def test_errors_are_understood(through: dict[str, Any]) -> None:
    with pytest.raises(litellm.NotFoundError) as missing:
        litellm.completion(model="openai/nope", messages=MESSAGES, **through)
    assert "no router for requested model" in str(missing.value)
