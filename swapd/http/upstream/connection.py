"""One connection to an upstream: a non-blocking socket, and the parser of what comes out of it."""

from __future__ import annotations

import os
import socket

import trio

from swapd.http.upstream.errors import ConnectionLost
from swapd.http.upstream.parser import ResponseParser

READ_SIZE = 64 * 1024
EAGER_READS = 8
"""How many full reads may follow each other before other tasks get a turn."""

_CLOSED_HERE = "the connection was closed"

# One buffer serves every connection: a read is parsed before anything else can run, and what the parser keeps
# is a copy. So a connection that waits, idle or in the middle of a stream, holds no buffer at all.
_buffer = memoryview(bytearray(READ_SIZE))


class Connection:
    """A connected socket. Whoever has taken it owns it until it is put back into its pool or closed.

    `idle_since` and `taken` (monotonic seconds) are the pool's. `parser` is renewed by `begin`.
    """

    __slots__ = ("_eager", "_sock", "idle_since", "parser", "taken")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._eager = 0
        self.parser = ResponseParser()
        self.idle_since = self.taken = 0.0

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the kernel takes without waiting; how many bytes that were. Raises `ConnectionLost`."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise _lost(error) from error

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all of `data`, waiting for the upstream to read. Raises `ConnectionLost`."""
        rest = memoryview(data)[self.send_now(data) :]
        while rest:
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except (trio.ClosedResourceError, ValueError):
                raise ConnectionLost(_CLOSED_HERE) from None
            rest = rest[self.send_now(rest) :]

    async def read(self) -> None:
        """Read once, up to `READ_SIZE` bytes, and parse it. Raises `ConnectionLost` or `BadResponse`.

        A read that filled the buffer is followed by another without waiting, as there is probably more, but
        not forever: a fast upstream must not keep the other tasks from running.
        """
        while True:
            if not self._eager:
                try:
                    await trio.lowlevel.wait_readable(self._sock)
                except (trio.ClosedResourceError, ValueError):
                    raise ConnectionLost(_CLOSED_HERE) from None
            try:
                size = self._sock.recv_into(_buffer)
            except BlockingIOError:
                self._eager = 0
                continue
            except OSError as error:
                raise _lost(error) from error
            break
        self._eager = (self._eager + 1) % EAGER_READS if size == READ_SIZE else 0
        if size:
            self.parser.feed(_buffer[:size])
        else:
            self.parser.end_of_stream()

    def is_stale(self) -> bool:
        """Whether an idle connection is of no more use: closed, or holding bytes nobody asked for."""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close at once, from whatever state; a task that waits on the connection gets `ConnectionLost`."""
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


def _lost(error: OSError) -> ConnectionLost:
    return ConnectionLost((error.strerror or os.strerror(error.errno or 0)).lower())
