"""python -m tests.real.stream_load URL STREAMS WATCHERS: a crowd in a process of its own.

So many chats of the model "owl" as streams at a time, and so many who watch all events meanwhile. Prints how
many of the streams came to their proper end.
"""

from __future__ import annotations

import sys

import httpx
import trio

_CHAT = {"model": "owl", "stream": True, "messages": []}


async def crowd(url: str, streams: int, watchers: int) -> int:
    """How many of the streams ended as they should; at most 120 s."""
    whole = 0
    limits = httpx.Limits(max_connections=streams + watchers)

    async def stream() -> None:
        nonlocal whole
        async with client.stream("POST", "/v1/chat/completions", json=_CHAT) as answer:
            text = "".join([part async for part in answer.aiter_text()])
        whole += answer.status_code == 200 and text.endswith("data: [DONE]\n\n")

    async def watch() -> None:
        async with client.stream("GET", "/api/events") as events:
            async for _ in events.aiter_bytes():
                pass

    with trio.fail_after(120):
        async with (
            httpx.AsyncClient(base_url=url, timeout=None, trust_env=False, limits=limits) as client,
            trio.open_nursery() as others,
        ):
            for _ in range(watchers):
                others.start_soon(watch)
            async with trio.open_nursery() as nursery:
                for _ in range(streams):
                    nursery.start_soon(stream)
            others.cancel_scope.cancel()
    return whole


if __name__ == "__main__":
    sys.stdout.write(f"{trio.run(crowd, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))}\n")
