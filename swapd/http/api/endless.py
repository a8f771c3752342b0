"""Answers without end: the bytes of somebody's stream, as long as the client listens and the daemon runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from swapd.http.record import RECORD
from swapd.http.server.asgi import Headers, Receive, Scope, Send

FAREWELL_S: Final = 1.0
"""How long a stream that ends may take to deliver what was left."""


class EndlessAnswer(ABC):
    """An ASGI application that sends what is subscribed to until that ends.

    A client that does not read holds up nobody. When the source ends its subscriptions, it loses its
    connection after a second, for the daemon is waiting to stop. Cancelled when the client leaves.
    """

    @abstractmethod
    def headers(self, scope: Scope) -> Headers: ...

    @abstractmethod
    def subscribe(self, on_end: Callable[[], None]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The stream; `on_end` is called when its source ends it, before its last bytes are read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with trio.CancelScope() as sending:

            def hurry() -> None:
                sending.deadline = trio.current_time() + FAREWELL_S

            # Leaving without the end of the body makes the server break the connection.
            await self._follow(scope, send, hurry)

    async def _follow(self, scope: Scope, send: Send, on_end: Callable[[], None]) -> None:
        record = scope[RECORD]
        async with self.subscribe(on_end) as stream:
            record.status = 200
            await send({"type": "http.response.start", "status": 200, "headers": self.headers(scope)})
            if scope["method"] == "HEAD":
                return await send({"type": "http.response.body", "body": b""})
            # Some servers hold the head back until there is a body: an empty piece sends it on its way.
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            async for data in stream:
                record.bytes_sent += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            return await send({"type": "http.response.body", "body": b""})
