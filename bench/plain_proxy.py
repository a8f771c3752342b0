"""The proxy that everybody would write first: Starlette and `httpx.AsyncClient` on stock hypercorn, on trio.

    python -m bench.plain_proxy --listen 127.0.0.1:8000 --upstream http://127.0.0.1:9000

It relays methods, headers and bodies both ways, streaming. It starts nothing and knows no models. This is the
yardstick of the benchmark, so it is to stay as plain as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(upstream: str) -> Starlette:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)
    client = httpx.AsyncClient(base_url=upstream, timeout=None, limits=limits, trust_env=False)

    async def relay(request: Request) -> Response:
        asked = client.build_request(
            request.method,
            request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            headers=[(k, v) for k, v in request.headers.items() if k not in HOP_BY_HOP],
            content=request.stream(),
        )
        answer = await client.send(asked, stream=True)
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            {k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP},
            background=BackgroundTask(answer.aclose),
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    return Starlette(routes=[Route("/{path:path}", relay, methods=METHODS)], lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--upstream", required=True)
    given = parser.parse_args()
    config = Config()
    config.bind = [given.listen]
    config.errorlog = None
    app: Any = make_app(given.upstream)  # hypercorn's type of an app is narrower than Starlette's
    trio.run(serve, app, config)


if __name__ == "__main__":
    main()
