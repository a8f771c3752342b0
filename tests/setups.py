"""Configurations for real daemons, and how tests talk to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from swapd.testing.daemon import Daemon
from tests.conformance.server.support import Client, post

Json = Any


def config(models: Mapping[str, str | Mapping[str, Any]], **top: Any) -> str:
    """A configuration with these models, each given by its command or all of its keys, and these top-level
    keys. What stands behind each key is JSON, which YAML includes."""
    written = {id: {"cmd": keys} if isinstance(keys, str) else keys for id, keys in models.items()}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in {**top, "models": written}.items())


def chat(model: str, **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], **more}


async def running(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    """The models that run, each with its state."""
    entries = (await client.get("/running")).json()["running"]
    return [(entry["model"], entry["state"]) for entry in entries]


async def address(client: httpx.AsyncClient, model: str) -> str:
    """Where the server of a running model listens."""
    entries = (await client.get("/running")).json()["running"]
    [found] = [entry["proxy"] for entry in entries if entry["model"] == model]
    return str(found)


def error(response: httpx.Response) -> dict[str, Any]:
    """What an answer of swapd's own says went wrong."""
    body = response.json()
    assert body["src"] == "swapd"
    error: dict[str, Any] = body["error"]
    return error


def events(text: str) -> list[Json]:
    """The JSON values of an event stream; `[DONE]` stays text."""
    values = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [value if value == "[DONE]" else json.loads(value) for value in values]


@asynccontextmanager
async def connection(swapd: Daemon) -> AsyncIterator[Client]:
    """A client that speaks HTTP/1.1 as crudely as the test wants, and may leave when it likes."""
    url = httpx.URL(swapd.url)
    assert url.port is not None
    client = Client(await trio.open_tcp_stream(url.host, url.port))
    try:
        yield client
    finally:
        await client.close()


def asking(body: Mapping[str, Any], path: str = "/v1/chat/completions", *lines: bytes) -> bytes:
    """The bytes of a POST with this JSON; `lines` are further header lines."""
    content_type = b"Content-Type: application/json"
    return post(json.dumps(body).encode(), content_type, *lines, target=path.encode())
