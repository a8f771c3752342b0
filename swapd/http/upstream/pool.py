"""The client of one upstream: its kept-alive connections, and the exchange of one request for one response.

This is the layer the hot path uses, with headers as byte pairs and no request object. One exchange creates no
task unless the request is too large to be sent at once, takes no lock, and arms no timer unless a response
header timeout is configured.

The pool is a stack: the connection used last is used next, so the others age and go. Age is looked at
whenever a connection is taken or put back, never by a timer: an idle daemon must not wake up for it.
"""

from __future__ import annotations

from collections import deque
from math import inf

import trio
from msgspec import Struct

from swapd.http.clock import clock
from swapd.http.upstream.address import BaseURL
from swapd.http.upstream.connection import Connection
from swapd.http.upstream.dial import Dialer
from swapd.http.upstream.errors import ConnectFailed, ConnectionLost, HeadTimedOut, UpstreamError
from swapd.http.upstream.parser import Headers
from swapd.http.upstream.response import UpstreamResponse
from swapd.http.upstream.sending import BodySender, StreamedBody

MAX_IDLE = 10
"""Connections kept for later. While more than that are in use, as many are kept as are in use: with 64
clients that ask again at once, most would otherwise be closed only to be opened anew."""

SMALL_BODY = 64 * 1024
"""Bytes of body that are copied behind the head to be sent in one call."""

STALE_SIGN_S = 1.0
"""A connection that the upstream has closed while it was idle shows it at once. An upstream that hangs up
later than this after a request may have worked on it, and must not get it again."""

_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
"""Methods whose requests say `Content-Length: 0` when there is no body (RFC 9110 §8.6)."""


class Timeouts(Struct, frozen=True):
    """Limits in seconds; 0 means none."""

    connect_s: float = 30.0
    keepalive_s: float = 30.0
    """Silence after which the kernel asks the other side for a sign of life."""
    response_header_s: float = 0.0
    """From the request's last byte to the end of the response's head."""
    idle_conn_s: float = 90.0
    send_s: float = 0.0
    """For the upstream to read one piece of a large request."""


class UpstreamPool:
    """Connections to one upstream. `close` it when the upstream goes.

    The mutable state is `_idle`, connections in the order of their last use, and `_closed`; both are changed
    by `take`, `_give_back` and `close` only; and `_in_use`, how many exchanges go on. A
    connection in use is not in here: it belongs to its exchange, then to its response, and comes back by
    `_give_back` when that is closed.
    """

    def __init__(self, base: BaseURL, timeouts: Timeouts | None = None) -> None:
        self.base = base
        self.timeouts = timeouts or Timeouts()
        self._dialer = Dialer(base.host, base.port, self.timeouts.keepalive_s)
        self._idle_limit_s = self.timeouts.idle_conn_s or inf
        self._idle: deque[Connection] = deque()
        self._in_use = 0
        self._closed = False
        self._now = clock()

    @property
    def idle(self) -> int:
        """How many connections are kept at the moment."""
        return len(self._idle)

    async def exchange(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | StreamedBody = b"",
        *,
        nursery: trio.Nursery | None = None,
        timeouts: Timeouts | None = None,
    ) -> UpstreamResponse:
        """Send one request and return its response as soon as the head has arrived.

        `headers` must name no framing (`Content-Length`, `Transfer-Encoding`): that follows from `body`.
        `target` is used as it is; see `BaseURL.target`. `timeouts` are the pool's if not given.

        If the response begins before the body has been sent, the rest of the body is not sent. With a
        `nursery` it is, by a task in there, unless the response says failure or redirect; the caller must
        close the response before it leaves the nursery.

        Raises `UpstreamError`, or `BodyFailed` from what the source of a streamed body raised. Cancelling it
        closes the connection at once. A request that meets a kept-alive connection which the upstream is just
        closing is repeated once on a new one, if the upstream has not answered a single byte and the body is
        still at hand.
        """
        request = self.prepare(method, target, headers, body, nursery=nursery, timeouts=timeouts)
        # The pieces of a stream cannot be sent twice, so it gets a connection that cannot be stale.
        kept = self.take() if request.stream is None else None
        if kept is not None:
            response = await self.exchange_on(kept, request)
            if response is not None:
                return response
        return await self.exchange_on_new(request, repeated=kept is not None)

    def prepare(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | StreamedBody = b"",
        *,
        nursery: trio.Nursery | None = None,
        timeouts: Timeouts | None = None,
    ) -> PreparedRequest:
        """The same request, ready to be sent; for those who choose its connection themselves."""
        start, tail, stream = _encode(method, target, headers, body)
        return PreparedRequest(method == b"HEAD", start, tail, stream, nursery, timeouts or self.timeouts)

    def take(self) -> Connection | None:
        """A kept connection, if there is one. It must be given to `exchange_on`.

        Whoever closes it while it is in use ends the exchange with `ConnectionLost`.
        """
        now = self._now()
        idle = self._idle
        self._drop_expired(now)
        while idle:
            connection = idle.pop()
            if not connection.is_stale():
                connection.taken = now
                return connection
            connection.close()
        return None

    async def exchange_on(self, kept: Connection, request: PreparedRequest) -> UpstreamResponse | None:
        """`exchange` on a connection that `take` has given; None if the upstream was just closing it, and the
        request may be sent again, once.
        """
        try:
            return await self._attempt(kept, request)
        except ConnectionLost:
            if kept.parser.heard or self._now() - kept.taken > STALE_SIGN_S:
                raise
            return None

    async def exchange_on_new(self, request: PreparedRequest, *, repeated: bool = False) -> UpstreamResponse:
        """`exchange` on a new connection; `repeated` says that the request has been sent before."""
        try:
            fresh = Connection(await self._dialer.dial(request.timeouts.connect_s))
        except ConnectFailed as error:
            error.request_sent = repeated
            raise
        return await self._attempt(fresh, request)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their responses are."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    # -- the exchange ----------------------------------------------------------------------------------------

    async def _attempt(self, connection: Connection, request: PreparedRequest) -> UpstreamResponse:
        parser = connection.parser
        parser.begin(expects_body=not request.is_head)
        self._in_use += 1
        try:
            sent = connection.send_now(request.start)
            if sent < len(request.start) or request.tail or request.stream is not None:
                return await self._send_and_read_head(connection, request, sent)
            if request.timeouts.response_header_s:
                await self._read_head(connection, request.timeouts.response_header_s)
            while not parser.head_complete:
                await connection.read()
            return UpstreamResponse(connection, None, self._give_back)
        except BaseException:
            self._in_use -= 1
            connection.close()
            raise

    async def _read_head(self, connection: Connection, limit_s: float) -> None:
        with trio.move_on_after(limit_s) as scope:
            while not connection.parser.head_complete:
                await connection.read()
        self._check_head_in_time(scope, limit_s)

    async def _send_and_read_head(
        self, connection: Connection, request: PreparedRequest, sent: int
    ) -> UpstreamResponse:
        waiting = trio.CancelScope()
        limit_s = request.timeouts.response_header_s

        def limit_the_wait() -> None:
            waiting.deadline = trio.current_time() + (limit_s or inf)

        rest = (memoryview(request.start)[sent:], memoryview(request.tail))
        sender = BodySender(connection, rest, request.stream, request.timeouts.send_s, limit_the_wait)
        try:
            if request.nursery is not None:
                request.nursery.start_soon(sender.run)
                failure = await self._wait_for_head(connection, waiting)
            else:
                async with trio.open_nursery() as own:
                    own.start_soon(sender.run)
                    failure = await self._wait_for_head(connection, waiting)
                    own.cancel_scope.cancel()
            failure = sender.failure or failure
            if failure is not None:
                raise failure
            self._check_head_in_time(waiting, limit_s)
        except BaseException:
            sender.stop()
            raise
        if connection.parser.status >= 300:
            sender.stop()
        return UpstreamResponse(connection, sender, self._give_back)

    async def _wait_for_head(self, connection: Connection, scope: trio.CancelScope) -> Exception | None:
        """Returned, not raised, so that the nursery around it has nothing to wrap."""
        try:
            with scope:
                while not connection.parser.head_complete:
                    await connection.read()
        except UpstreamError as error:
            return error
        return None

    def _check_head_in_time(self, scope: trio.CancelScope, limit_s: float) -> None:
        if scope.cancelled_caught:
            raise HeadTimedOut(f"{self.base} sent no response within {limit_s:g} s")

    # -- the stack of idle connections -----------------------------------------------------------------------

    def _give_back(self, connection: Connection, *, reusable: bool) -> None:
        """The end of an exchange that had a response."""
        self._in_use -= 1
        parser = connection.parser
        idle = self._idle
        if not reusable or not parser.keep_alive or parser.overrun or self._closed:
            connection.close()
        else:
            now = connection.idle_since = self._now()
            idle.append(connection)
            self._drop_expired(now)
        while len(idle) > MAX_IDLE and len(idle) > self._in_use:
            idle.popleft().close()

    def _drop_expired(self, now: float) -> None:
        idle = self._idle
        oldest = now - self._idle_limit_s
        while idle and idle[0].idle_since < oldest:
            idle.popleft().close()


class PreparedRequest(Struct, eq=False):
    """One request, ready to be sent: `start` in one piece, then `tail`, then what `stream` yields."""

    is_head: bool
    start: bytes
    tail: bytes
    stream: StreamedBody | None
    nursery: trio.Nursery | None
    timeouts: Timeouts


def _encode(
    method: bytes, target: bytes, headers: Headers, body: bytes | StreamedBody
) -> tuple[bytes, bytes, StreamedBody | None]:
    """The parts of a request: the head with a small body, then a large body, uncopied, or a stream.

    Raises `ValueError` if a field would end early and let the rest of it pass for something else.
    """
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    lines += [b"%b: %b\r\n" % header for header in headers]
    if isinstance(body, StreamedBody):
        if body.length is None:
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            lines.append(b"content-length: %d\r\n" % body.length)
    elif body or method in _BODY_EXPECTED:
        lines.append(b"content-length: %d\r\n" % len(body))
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or target.find(b" ") >= 0:
        raise ValueError("a line break or space inside the request's method, target or headers")
    if isinstance(body, StreamedBody):
        return head + b"\r\n", b"", body
    if len(body) > SMALL_BODY:
        return head + b"\r\n", body, None
    return b"%b\r\n%b" % (head, body), b"", None
