"""The fixture `serve_app`: servers that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from swapd.http.server import ASGIApp, ServerSettings, serve
from tests.conformance.server.support import Running, StartServer, listen, patience


@pytest.fixture
async def serve_app() -> AsyncIterator[StartServer]:
    """`await serve_app(app, **settings)` gives a `Running`. All have ended cleanly when the test is over."""
    started: list[Running] = []

    async def run(app: ASGIApp, settings: dict[str, Any], task_status: trio.TaskStatus[Running]) -> None:
        listener = listen()
        running = Running([listener.getsockname()])
        started.append(running)
        settings = {"report_error": running.report, **settings}
        try:
            with running.scope:
                async with trio.open_nursery() as inner:
                    stopping = running.stopping
                    await inner.start(
                        lambda task_status: serve(
                            app,
                            [listener],
                            ServerSettings(**settings),
                            stopping=stopping,
                            task_status=task_status,
                        )
                    )
                    task_status.started(running)
        finally:
            running.finished.set()

    async with trio.open_nursery() as nursery:

        async def start(app: ASGIApp, **settings: Any) -> Running:
            running: Running = await nursery.start(run, app, settings)
            return running

        yield start
        for running in started:
            running.scope.cancel()
            for client in running.clients:
                await client.close()
        with patience():
            for running in started:
                await running.finished.wait()
