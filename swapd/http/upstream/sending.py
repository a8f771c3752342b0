"""Sending what is left of a request while its response is awaited.

Only requests that do not fit the kernel's send buffer at once come here: large bodies, and bodies that are
themselves still arriving. An upstream may answer such a request early and stop reading, and whoever only
sends would then wait for ever. So the body is sent by a task of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable

import trio
from attrs import define, field
from msgspec import Struct

from swapd.http.upstream.connection import Connection
from swapd.http.upstream.errors import BodyFailed, BodyLengthMismatch, ConnectionLost, SendTimedOut

PIECE_SIZE = 256 * 1024
"""A body that is there as a whole is sent in pieces of this size, each with the full send timeout."""


class StreamedBody(Struct, frozen=True):
    """A request body that is still arriving.

    `length` is what its `Content-Length` says, in bytes; None if that is unknown, then it is sent in chunks
    (RFC 9112 §7.1). A piece is asked for when the one before it has been sent, so a slow upstream slows down
    the source.
    """

    pieces: AsyncIterable[bytes]
    length: int | None = None


@define(eq=False)
class BodySender:
    """The rest of one request, to be sent by `run` in a task.

    `finished` becomes true when the request is complete. If it never does, because of `stop`, a lost
    connection or `failure`, the connection cannot carry another request.
    """

    connection: Connection
    rest: tuple[memoryview, ...]
    """What the kernel did not take of the head, and the body if that is there as a whole."""
    body: StreamedBody | None
    send_timeout_s: float
    """How long the upstream may take to read one piece; 0 = as long as it likes."""
    when_finished: Callable[[], None]
    """Called once, when the last byte has been sent."""
    finished: bool = False
    failure: BodyFailed | SendTimedOut | None = None
    """Why the request cannot be completed and the connection, good until then, has been closed."""
    _scope: trio.CancelScope = field(init=False, factory=trio.CancelScope)

    async def run(self) -> None:
        """Send. Raises nothing but `trio.Cancelled`; what else goes wrong, `failure` or the reader tells."""
        with self._scope:
            try:
                await self._send_rest()
                await self._send_body()
            except ConnectionLost:
                # Not the last word: the upstream may have answered before it hung up. The reader will see.
                pass
            except SendTimedOut as error:
                self._give_up(error)
            except Exception as error:  # noqa: BLE001 - whatever the source raises is the caller's to handle
                failed = BodyFailed(f"the request body could not be read: {error!r}")
                failed.__cause__ = error
                self._give_up(failed)
            else:
                self.finished = True
                self.when_finished()

    def stop(self) -> None:
        """Send nothing more. Harmless when finished."""
        self._scope.cancel()

    def _give_up(self, failure: BodyFailed | SendTimedOut) -> None:
        self.failure = failure
        self.connection.close()

    async def _send_rest(self) -> None:
        for part in self.rest:
            for start in range(0, len(part), PIECE_SIZE):
                await self._send(part[start : start + PIECE_SIZE])

    async def _send_body(self) -> None:
        if self.body is None:
            return
        if self.body.length is None:
            async for piece in self.body.pieces:
                if piece:
                    await self._send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._send(b"0\r\n\r\n")
        else:
            await self._send_counted(self.body.pieces, self.body.length)

    async def _send_counted(self, pieces: AsyncIterable[bytes], length: int) -> None:
        missing = length
        async for piece in pieces:
            missing -= len(piece)
            if missing < 0:
                raise BodyLengthMismatch(
                    f"the request body is longer than its Content-Length of {length} bytes"
                )
            await self._send(piece)
        if missing:
            raise BodyLengthMismatch(f"the request body ended {missing} bytes short of its Content-Length")

    async def _send(self, data: bytes | memoryview) -> None:
        if not self.send_timeout_s:
            await self.connection.send_all(data)
            return
        with trio.move_on_after(self.send_timeout_s) as scope:
            await self.connection.send_all(data)
        if scope.cancelled_caught:
            raise SendTimedOut(f"the upstream read nothing for {self.send_timeout_s:g} s")
