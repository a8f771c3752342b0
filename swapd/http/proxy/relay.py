"""Passing a response on to the client, chunk by chunk, as it arrives.

What one read from the upstream brought goes out as one piece, at once: no chunk waits for another, and none
is looked into. The next read begins when the client has taken the last, so a client that reads slowly slows
down its upstream and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from swapd.http.errors import ErrorAnswer, Rejected, request_id
from swapd.http.proxy.headers import headers_for_client
from swapd.http.record import RECORD, RequestRecord
from swapd.http.server.asgi import ABORT, Headers, Scope, Send
from swapd.nursery.lease import NO_ACTIVITY
from swapd.observe.inflight import Work

_TRAILERS = "http.response.trailers"
_NONE: Mapping[str, Any] = {}


class Incoming(Protocol):
    """A response as it comes in; `swapd.http.upstream.UpstreamResponse` says what the parts mean."""

    status: int
    headers: Headers
    trailers: Headers
    ended: bool

    def take(self) -> bytes: ...

    async def receive(self) -> bytes: ...


class Closable(Protocol):
    """What somebody waits for, and is told by an exception when it is closed."""

    def close(self) -> None: ...


class Relay:
    """One response on its way to one client.

    `pass_on` takes everything from the upstream and sends all but the last of it; `finish` sends that. In
    between, the upstream is not needed any more: whatever was held for its sake can be let go while the
    client still reads.

    `begun` is set when the client may have received something. What arrives from the upstream is counted in
    `activity`, which is the lease's. `waits_for` is what the next bytes come from, if that is to be closed in
    order to interrupt the work.
    """

    __slots__ = (
        "_abort",
        "_announced",
        "_last",
        "_record",
        "_response",
        "_scope",
        "_send",
        "_sending",
        "_tap",
        "activity",
        "begun",
        "waits_for",
    )

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._record: RequestRecord = scope[RECORD]
        self._send = send
        self._response: Incoming | None = None
        self._last = b""
        self._announced: Headers = []
        self._tap: Callable[[bytes], None] | None = None
        self.begun = False
        self.activity = NO_ACTIVITY
        self.waits_for: Closable | None = None
        self._sending = False
        self._abort: Callable[[], None] | None = scope.get("extensions", _NONE).get(ABORT)

    @property
    def can_be_interrupted(self) -> bool:
        """Whether `interrupt` works: it needs a server that lets a response be broken off."""
        return self._abort is not None

    def interrupt(self) -> None:
        """End, from another task, `pass_on` or what precedes it: it raises `UpstreamError`.

        While the client is waited for, its connection is broken, for it has a part of the response already;
        that cancels the request.
        """
        if self._sending:
            assert self._abort is not None
            self._abort()
        elif self.waits_for is not None:
            self.waits_for.close()

    def granted(self) -> None:
        """Note that the request need not wait for its model any more."""
        if (request := self._record.request) is not None:
            request.granted = time.perf_counter()

    def can_be_cancelled_by(self, work: Work) -> None:
        """From now on whoever cancels the request does so with `work`."""
        if (request := self._record.request) is not None:
            request.can_be_cancelled_by(work)

    async def pass_on(self, response: Incoming) -> None:
        """Read `response` to its end. Raises `UpstreamError` if it breaks off; does not close it."""
        self._response = response
        self.activity.chunks += 1
        chunk = response.take()
        if not response.ended:
            await self._begin(response)
            # Also if it is empty: it takes the head to the client, who may be waiting for just that.
            chunk = await self._pass_chunks(chunk, response)
        self._last = chunk

    async def _pass_chunks(self, chunk: bytes, response: Incoming) -> bytes:
        """Pass on `chunk` and what follows it, each as it arrives; the last one is returned."""
        activity, record, tap, send = self.activity, self._record, self._tap, self._send
        while True:
            activity.chunks += 1
            record.bytes_sent += len(chunk)
            if tap is not None and chunk:
                tap(chunk)
            self._sending = True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._sending = False
            chunk = await response.receive()
            while not chunk and not response.ended:
                chunk = await response.receive()
            if response.ended:
                return chunk

    async def finish(self) -> None:
        """Send what is left, once `pass_on` has returned."""
        response = self._response
        assert response is not None
        if not self.begun:
            await self._begin(response)
        self._record.bytes_sent += len(self._last)
        if self._tap is not None and self._last:
            self._tap(self._last)
        self._sending = True
        await self._send({"type": "http.response.body", "body": self._last, "more_body": False})
        if self._announced:
            await self._send({"type": _TRAILERS, "headers": response.trailers, "more_trailers": False})

    async def fail(self, failure: ErrorAnswer) -> None:
        """Say that there is no answer, or no whole one: raises `Rejected` as long as that can be answered.

        A response that has begun is left without its end, so that the server breaks the connection.
        """
        if not self.begun:
            raise Rejected(failure)

    async def _begin(self, response: Incoming) -> None:
        self.begun = True
        self._record.status = response.status
        headers = headers_for_client(response.headers, request_id(self._scope).encode("ascii"))
        if (request := self._record.request) is not None:
            self._tap = request.begin_response(headers)
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        if (response.trailers or not response.ended) and _TRAILERS in self._scope.get("extensions", ()):
            self._announced = [pair for pair in response.headers if pair[0] == b"trailer"]
            headers += self._announced
            start["trailers"] = bool(self._announced)
        self._sending = True
        await self._send(start)
        self._sending = False
