"""The last bytes of a log, and the readers that follow it live.

A `LogRing` takes bytes from whoever produces them (a child's output pipe, the daemon's own logger) and
keeps the newest of them. Its one promise is to the writer: `write` never blocks, never awaits and needs
bounded memory, whatever the readers do. A reader that does not keep up loses the oldest bytes it has not
taken yet, and is told how many at the place where they are missing.

Rings belong to the thread of the event loop (or to a process whose loop does not run yet); no other thread
may write to one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

DEFAULT_RING_BYTES: Final = 102_400

SUBSCRIBER_BYTES: Final = 262_144
"""What may wait for one reader before its oldest bytes are dropped; at least the history fits besides."""


def gap_note(dropped: int) -> bytes:
    """The text that stands in a stream where `dropped` bytes are missing."""
    return f"\n— {dropped} bytes dropped —\n".encode()


class LogRing:
    """The newest `size` bytes of one log, byte-wise, so that the history may begin in mid-line.

    The mutable state is the buffer with the place of its oldest byte, changed by `write` and `resize`, and
    the subscribers, changed by entering and leaving a `Subscription` and by `end_subscriptions`.
    """

    __slots__ = ("_buffer", "_ended", "_oldest", "_size", "_subscriptions", "dropped_bytes")

    def __init__(self, size: int = DEFAULT_RING_BYTES) -> None:
        self._size = size
        self._buffer = bytearray()  # grows as it fills: the ring of a model that never ran costs nothing
        self._oldest = 0  # index of the oldest byte; 0 until the buffer has been filled once
        self._subscriptions: tuple[
            Subscription, ...
        ] = ()  # replaced, never changed: `write` iterates over it
        self._ended = False
        self.dropped_bytes = 0
        """Bytes that readers have missed so far, all readers together."""

    @property
    def size(self) -> int:
        """Most bytes of history that are kept."""
        return self._size

    def write(self, data: bytes) -> None:
        """Append `data`, push out what is too old, and offer it to every reader. Never blocks."""
        self._keep(data)
        for subscription in self._subscriptions:
            subscription._offer(data)

    def history(self) -> bytes:
        """What is kept, oldest byte first."""
        if self._oldest == 0:
            return bytes(self._buffer)
        return bytes(self._buffer[self._oldest :] + self._buffer[: self._oldest])

    def resize(self, size: int) -> None:
        """Keep at most `size` bytes from now on; the newest of what is there stay."""
        kept = self.history()
        self._size = size
        self._buffer = bytearray(kept[len(kept) - size :] if len(kept) > size else kept)
        self._oldest = 0

    def subscribe(
        self,
        *,
        history: bool = True,
        limit: int = SUBSCRIBER_BYTES,
        on_end: Callable[[], None] | None = None,
        on_data: Callable[[], None] | None = None,
    ) -> Subscription:
        """Follow the log: `async with ring.subscribe() as stream: async for chunk in stream: …`.

        The history (unless it is not wanted) and the live bytes join without a seam. `limit` bounds the live
        bytes that wait for the reader. `on_end` is called when the ring ends its subscriptions, for a reader
        that may be stuck elsewhere at that moment. `on_data` is called when bytes arrive, for a reader that
        waits for more than this log and takes them with `take_nowait`. Neither may block.
        """
        return Subscription(self, history=history, limit=limit, on_end=on_end, on_data=on_data)

    def end_subscriptions(self) -> None:
        """Let every reader finish: it gets what still waits for it, then its iteration ends.

        Later subscribers get the history and end at once. Writing goes on as before.
        """
        self._ended = True
        for subscription in self._subscriptions:
            subscription._end()

    def _keep(self, data: bytes) -> None:
        size, buffer, count = self._size, self._buffer, len(data)
        room = size - len(buffer)
        if count <= room:
            buffer += data
            return
        if count >= size:
            buffer[:] = data[count - size :]
            self._oldest = 0
            return
        if room:
            buffer += data[:room]
            data = data[room:]
            count -= room
        start = self._oldest
        end = start + count
        if end < size:
            buffer[start:end] = data
            self._oldest = end
        else:
            to_the_edge = size - start
            buffer[start:] = data[:to_the_edge]
            buffer[: end - size] = data[to_the_edge:]
            self._oldest = end - size

    def _attach(self, subscription: Subscription) -> None:
        self._subscriptions = (*self._subscriptions, subscription)
        if self._ended:
            subscription._end()

    def _detach(self, subscription: Subscription) -> None:
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)


class Subscription:
    """One reader of a ring: an async context manager and, inside it, an async iterator of bytes.

    Each item is everything that has arrived since the last one. If the reader was too slow, the item begins
    with a gap note (`gap_note`) for the bytes it missed. The iteration ends when the ring ends its
    subscriptions; otherwise only by leaving the block. Waiting for bytes may be cancelled at any time and
    loses nothing. For one task at a time.
    """

    __slots__ = (
        "_arrived",
        "_dropped",
        "_ended",
        "_limit",
        "_on_data",
        "_on_end",
        "_pending",
        "_ring",
        "_with_history",
    )

    def __init__(
        self,
        ring: LogRing,
        *,
        history: bool,
        limit: int,
        on_end: Callable[[], None] | None,
        on_data: Callable[[], None] | None,
    ) -> None:
        self._ring = ring
        self._with_history = history
        self._limit = limit
        self._on_end = on_end
        self._on_data = on_data
        self._pending = bytearray()
        self._dropped = 0  # bytes missing in front of `_pending`
        self._arrived: trio.Event | None = None  # set while the reader waits
        self._ended = False

    async def __aenter__(self) -> Subscription:
        if self._with_history:
            self._pending += self._ring.history()
            self._limit += len(self._pending)
        self._ring._attach(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ring._detach(self)
        self._pending.clear()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._pending:
            if self._ended:
                raise StopAsyncIteration
            self._arrived = trio.Event()
            try:
                await self._arrived.wait()
            finally:
                self._arrived = None
        return self._take()

    def take_nowait(self) -> bytes:
        """What has arrived since the last time; empty if nothing has."""
        return self._take() if self._pending else b""

    def _offer(self, data: bytes) -> None:
        self._pending += data
        excess = len(self._pending) - self._limit
        if excess > 0:
            del self._pending[:excess]
            self._dropped += excess
            self._ring.dropped_bytes += excess
        if self._arrived is not None:
            self._arrived.set()
        if self._on_data is not None:
            self._on_data()

    def _end(self) -> None:
        self._ended = True
        if self._on_end is not None:
            self._on_end()
        if self._arrived is not None:
            self._arrived.set()

    def _take(self) -> bytes:
        pending, self._pending = self._pending, bytearray()
        if not self._dropped:
            return bytes(pending)
        # The cut may have gone through a character of several bytes: its rest would be read as rubbish.
        rest = 0
        while rest < min(3, len(pending)) and pending[rest] & 0xC0 == 0x80:
            rest += 1
        note = gap_note(self._dropped + rest)
        self._dropped = 0
        return note + pending[rest:]
