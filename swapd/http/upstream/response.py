"""The response to one request, as whoever made the request reads it."""

from __future__ import annotations

from typing import Protocol

from swapd.http.upstream.connection import Connection
from swapd.http.upstream.errors import UpstreamError
from swapd.http.upstream.parser import Headers
from swapd.http.upstream.sending import BodySender


class GiveBack(Protocol):
    """How a response gives its connection up."""

    def __call__(self, connection: Connection, *, reusable: bool) -> None:
        """Called once. `reusable`: request and response have both come to their end."""


class UpstreamResponse:
    """A response whose head has arrived; the body is read from the connection as it is asked for.

    `status`, `reason` and `headers` (lower-case names, in the order of arrival) never change. `ended` says
    that the whole response has been received, though some of it may not have been taken yet; `trailers` is
    complete from then.

    It must be closed: `close()`, or `aclose()`, or reading to the end, each of which gives the connection up.
    The connection is kept for the next request if response and request have both come to their end, and is
    closed at once otherwise, which is what tells the upstream that nobody listens any more.
    """

    __slots__ = (
        "_connection",
        "_give_back",
        "_sender",
        "_untaken",
        "ended",
        "headers",
        "reason",
        "status",
        "trailers",
    )

    def __init__(self, connection: Connection, sender: BodySender | None, give_back: GiveBack) -> None:
        parser = connection.parser
        self.status = parser.status
        self.reason = parser.reason
        self.headers: Headers = parser.headers
        self.trailers: Headers = parser.trailers
        self._untaken = parser.take()
        self._sender = sender
        self._give_back = give_back
        self._connection: Connection | None = connection
        self.ended = parser.ended
        if self.ended:
            self.close()

    def take(self) -> bytes:
        """What has arrived of the body and was not taken yet, without waiting; often empty."""
        chunk, self._untaken = self._untaken, b""
        return chunk

    async def receive(self) -> bytes:
        """Read once more and return all the body bytes that came of it.

        They may be none, if it was only framing; `ended` tells whether there will be more. Raises
        `UpstreamError` if the response cannot be completed. Cancelling it loses nothing that had been
        received.
        """
        connection = self._connection
        if connection is None:
            return self.take()
        parser = connection.parser
        try:
            await connection.read()
        except UpstreamError:
            if self._sender is not None and self._sender.failure is not None:
                raise self._sender.failure from None
            raise
        chunk = parser.take()
        if parser.ended:
            self.ended = True
            self.close()
        return chunk

    def __aiter__(self) -> UpstreamResponse:
        return self

    async def __anext__(self) -> bytes:
        chunk = self.take()
        while not chunk:
            if self.ended:
                raise StopAsyncIteration
            chunk = await self.receive()
        return chunk

    def close(self) -> None:
        """Give the connection up: kept if it can be used again, else closed. May be called more than once."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        sender = self._sender
        sent = sender is None or sender.finished
        if sender is not None and not sent:
            sender.stop()
        self._give_back(connection, reusable=sent and self.ended)

    async def aclose(self) -> None:
        """`close()`, for code that expects to wait for it."""
        self.close()
