"""Telling clients what happens as it happens, without ever waiting for one of them.

A client that does not keep up has a bounded amount waiting for it. What goes beyond that is thrown away, and
the client is told so by a fresh beginning: everything as it is now, which makes what was lost irrelevant. Log
text is bounded apart; where some is missing, a note stands in its place.

A message costs nothing while nobody wants its type. Two kinds are not sent the moment they arise but soon
after, so that many changes become one message: the list of models, and how many bytes a request has sent.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from swapd.observe.timestamps import utc_timestamp

if TYPE_CHECKING:
    from types import TracebackType

    from swapd.observe.inflight import InFlight, InFlightRequest
    from swapd.observe.ring import LogRing

USUAL_TYPES: Final = frozenset(
    {"logData", "modelStatus", "uiConfig", "profileChanged", "inflight", "activity", "metrics"}
)
"""What a client gets that names no types; others came later and are sent to those who ask for them."""

HEARTBEAT_S: Final = 15.0
HEARTBEAT: Final = b":\n\n"
"""A comment (WHATWG HTML, server-sent events): it shows that the connection lives."""

MOST_MESSAGES: Final = 1024
MOST_BYTES: Final = 4 * 1024 * 1024
"""What may wait for one client, log text not counted."""

MODEL_STATUS_EVERY_S: Final = 0.2
SETTLE_S: Final = 0.01
"""What happens at once is told at once: a model that becomes ready, and the requests that waited for it."""
BYTE_COUNTS_EVERY_S: Final = 0.25


def message(kind: str, value: Any) -> bytes:
    """One message in wire form. The data is JSON in a string of the envelope, as its readers expect."""
    envelope = {"type": kind, "data": msgspec.json.encode(value).decode()}
    return b"event:message\ndata:%b\n\n" % msgspec.json.encode(envelope)


class EventHub:
    """Hands messages to the clients that want them.

    The mutable state is who listens (changed by entering and leaving an `EventStream`), whether streams have
    been ended, and what waits to be sent together. `run` sends that; without it everything else works. All
    functions may be called at any time from the event loop's thread and never block.
    """

    def __init__(self, in_flight: InFlight, warn: Callable[[str], None]) -> None:
        self._in_flight = in_flight
        self._warn = warn
        self._streams: tuple[EventStream, ...] = ()
        self._wanted: frozenset[str] = frozenset()
        self._models_changed = trio.Event()
        self._requests_watched = trio.Event()
        self._ended = False
        self.models: Callable[[], Any] = list
        """Returns the list of models; whoever knows it sets this."""
        self.on_wishes: Callable[[], None] = lambda: None
        """Called when there are clients for other types than before; whoever makes messages sets this."""
        self.dropped = 0
        """Messages that clients have missed so far, all clients together."""

    @property
    def clients(self) -> int:
        return len(self._streams)

    def wants(self, kind: str) -> bool:
        """Whether a message of this type would reach anybody."""
        return kind in self._wanted

    def publish(self, kind: str, value: Any) -> None:
        """Send a message to all clients that want its type."""
        if kind in self._wanted:
            self._deliver(kind, message(kind, value))

    def notice(self, level: str, text: str) -> None:
        """Something that a person should see; `level` is "info", "warn" or "error"."""
        self.publish("notice", {"level": level, "text": text, "at": utc_timestamp(time.time_ns())})

    def models_changed(self) -> None:
        """Send the list of models as `modelStatus`, soon and at most five times a second."""
        if "modelStatus" in self._wanted:
            self._models_changed.set()

    def request_changed(self, request: InFlightRequest) -> None:
        """A request has started, or its response has."""
        if "inflight" in self._wanted:
            self._publish_request(request)
            self._requests_watched.set()

    def request_ended(self, request: InFlightRequest) -> None:
        """A request has left the table of those in flight. The idle time of its model begins."""
        if not self._wanted:
            return
        self.models_changed()
        if "inflight" in self._wanted:
            self._publish_in_flight({"operation": "remove", "id": str(request.id)})

    def in_flight_snapshot(self) -> Any:
        """All requests in flight, as the data of an `inflight` message."""
        return {
            "operation": "snapshot",
            "requests": self._in_flight.entries(),
            "total": len(self._in_flight.requests),
        }

    def subscribe(
        self,
        types: frozenset[str],
        beginning: Callable[[bool], bytes],
        logs: Mapping[str, LogRing],
        on_end: Callable[[], None],
        own: Mapping[str, Callable[[], Any]] | None = None,
    ) -> EventStream:
        """Follow events: `async with hub.subscribe(…) as stream: async for data in stream: …`.

        `beginning(first)` gives the messages a stream begins with, those with the logs' history if it is the
        `first` time. `logs` are the rings whose text is wanted, by the source's name. `on_end` is called when
        the streams are ended, for a reader that may be stuck elsewhere at that moment. `own` makes the data
        of some types for this client alone, which may not see everything.
        """
        return EventStream(self, types, beginning, logs, on_end, own or {})

    def end_streams(self, reason: str, deadline_ms: int) -> None:
        """Let every client finish: the daemon is about to stop. Later ones get the beginning and the end."""
        self.publish("shutdown", {"reason": reason, "deadline_ms": deadline_ms})
        self._ended = True
        for stream in self._streams:
            stream._end()

    async def run(self) -> None:
        """Send what is collected, until cancelled. Sleeps without a time-out while nobody listens."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_model_status)
            nursery.start_soon(self._send_byte_counts)

    async def _send_model_status(self) -> None:
        while True:
            await self._models_changed.wait()
            self._models_changed = trio.Event()
            await trio.sleep(SETTLE_S)
            self.publish("modelStatus", self.models())
            await trio.sleep(MODEL_STATUS_EVERY_S)

    async def _send_byte_counts(self) -> None:
        told: dict[int, int] = {}
        while True:
            if not self._in_flight.requests or "inflight" not in self._wanted:
                told.clear()
                self._requests_watched = trio.Event()
                await self._requests_watched.wait()
            await trio.sleep(BYTE_COUNTS_EVERY_S)
            before, told = told, {}
            for request in self._in_flight.requests.values():
                sent = told[request.id] = request.progress.bytes_sent
                if sent != before.get(request.id, 0):
                    self._publish_request(request)

    def _publish_request(self, request: InFlightRequest) -> None:
        self._publish_in_flight({"operation": "upsert", "request": request.entry()})

    def _publish_in_flight(self, change: dict[str, Any]) -> None:
        self.publish("inflight", {**change, "total": len(self._in_flight.requests)})

    def _deliver(self, kind: str, data: bytes) -> None:
        overflowed = 0
        for stream in self._streams:
            if kind in stream.types:
                own = stream.own.get(kind)
                overflowed += stream._offer(data if own is None else message(kind, own()))
        if overflowed:
            self._warn("an event client is too slow and has missed messages")

    def _attach(self, stream: EventStream) -> None:
        self._streams = (*self._streams, stream)
        self._count_wishes()
        if self._in_flight.requests and "inflight" in stream.types:
            self._requests_watched.set()
        if self._ended:
            stream._end()

    def _detach(self, stream: EventStream) -> None:
        self._streams = tuple(other for other in self._streams if other is not stream)
        self._count_wishes()

    def _count_wishes(self) -> None:
        self._wanted = frozenset().union(*(stream.types for stream in self._streams))
        self.on_wishes()


class EventStream:
    """One client's messages: an async context manager and, inside it, an async iterator of bytes.

    Each item is everything that has arrived since the last one, or a heartbeat after 15 s of silence. Waiting
    may be cancelled at any time and loses nothing. For one task at a time.
    """

    def __init__(
        self,
        hub: EventHub,
        types: frozenset[str],
        beginning: Callable[[bool], bytes],
        logs: Mapping[str, LogRing],
        on_end: Callable[[], None],
        own: Mapping[str, Callable[[], Any]],
    ) -> None:
        self.types = types
        self.own = own
        self._hub = hub
        self._beginning = beginning
        self._on_end = on_end
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._lost = False  # messages have been thrown away; the next item starts afresh
        self._arrived: trio.Event | None = None  # set while the reader waits
        self._ended = False
        self._logs = {
            source: ring.subscribe(history=False, on_data=self._wake) for source, ring in logs.items()
        }

    async def __aenter__(self) -> EventStream:
        for log in self._logs.values():
            await log.__aenter__()
        self._hub._attach(self)
        self._messages.append(self._beginning(True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub._detach(self)
        self._messages.clear()
        for log in self._logs.values():
            await log.__aexit__(kind, error, trace)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if data := self._take():
            return data
        if self._ended:
            raise StopAsyncIteration
        with trio.move_on_after(HEARTBEAT_S):
            while True:
                self._arrived = trio.Event()
                try:
                    await self._arrived.wait()
                finally:
                    self._arrived = None
                if data := self._take():
                    return data
                if self._ended:
                    raise StopAsyncIteration
        return HEARTBEAT

    def _take(self) -> bytes:
        if self._lost:
            self._lost = False
            parts = [self._beginning(False)]
        else:
            parts = list(self._messages)
        self._messages.clear()
        self._size = 0
        for source, log in self._logs.items():
            if text := log.take_nowait():
                parts.append(message("logData", {"source": source, "data": text.decode("utf-8", "replace")}))
        return b"".join(parts)

    def _offer(self, data: bytes) -> bool:
        """Queue a message; True if this is the moment from which on messages are missed."""
        if self._lost:
            self._hub.dropped += 1
            return False
        if len(self._messages) >= MOST_MESSAGES or self._size + len(data) > MOST_BYTES:
            self._lost = True
            self._hub.dropped += len(self._messages) + 1
            self._messages.clear()
            self._size = 0
            return True
        self._messages.append(data)
        self._size += len(data)
        self._wake()
        return False

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    def _end(self) -> None:
        self._ended = True
        self._on_end()
        self._wake()
