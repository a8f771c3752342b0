"""Requests for models of peers: other machines, spoken to with httpx, over TLS where their URL says so.

A peer is somebody else's house. It sees its own name as `Host`, nothing of where the client is, and a key of
ours only if the configuration gives it one. Its answers pass as they are, compressed or not.

Each peer has a transport of its own, with its own connections and time limits, for as long as its
configuration stays the same.

This module is loaded with the first request for a peer: httpx takes longer to load than the daemon has to
start.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx
import trio
from attrs import define, field

from swapd.config.names import Peer
from swapd.http.errors import ErrorAnswer, Rejected
from swapd.http.proxy.relay import Relay
from swapd.http.proxy.targets import PeerRequest, PeerTarget
from swapd.http.server.asgi import Headers, Scope, Send
from swapd.http.upstream import StreamedBody, UpstreamError
from swapd.observe.logger import Logger

MAX_IDLE = 10
CLOSE_S = 0.5
"""How long a TLS connection may take to say goodbye."""

_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})
_LOOPBACK = ("localhost", "127.", "::1")


class Peers:
    """Serves requests for the models of peers.

    The mutable state are the open transports, one a peer; `serve` opens them and `aclose` closes them. One
    whose configuration has changed is closed when its last request has ended.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._lines: dict[str, _Line] = {}

    async def serve(self, request: PeerRequest, scope: Scope, send: Send) -> None:
        """Serve one request. Raises `Rejected` if there is an error to answer with.

        Cancelling it closes the connection to the peer, within `CLOSE_S`.
        """
        relay = Relay(scope, send)
        line = await self._line(request.target)
        line.users += 1
        try:
            error = await self._exchange(line, request, relay)
        finally:
            line.users -= 1
            if line.retired and not line.users:
                await line.aclose()
        if error is None:
            await relay.finish()
            return
        self._log.warn(
            f"[{request.target.id}] peer error: {error}", event="peer.failed", model=request.target.id
        )
        if not relay.begun:
            code = "peer_timeout" if isinstance(error, _HeadTimedOut) else "peer_error"
            raise Rejected(ErrorAnswer(code, f"peer proxy error: {error}"))

    async def aclose(self) -> None:
        """Close all connections, those in use too."""
        while self._lines:
            await self._lines.popitem()[1].aclose()

    async def _line(self, target: PeerTarget) -> _Line:
        line = self._lines.get(target.peer_id)
        if line is not None and line.peer == target.peer:
            return line
        new = self._lines[target.peer_id] = _Line(target.peer)
        if line is not None:
            line.retired = True
            if not line.users:
                await line.aclose()
        return new

    async def _exchange(self, line: _Line, request: PeerRequest, relay: Relay) -> Exception | None:
        """Send the request, pass the response on; what goes wrong between us and the peer is returned."""
        try:
            response = await line.ask(request)
            try:
                await relay.pass_on(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            return _PeerFailed(_cause(error))
        except UpstreamError as error:
            return error
        return None


class _PeerFailed(UpstreamError):
    """The peer cannot be reached, or its answer broke off."""


class _HeadTimedOut(UpstreamError):
    """The peer took the request and did not begin to answer in time."""


@define(eq=False)
class _Line:
    """The transport to one peer, as configured."""

    peer: Peer
    users: int = 0
    retired: bool = False
    _base: httpx.URL = field(init=False)
    _transport: httpx.AsyncHTTPTransport = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._base = httpx.URL(self.peer.proxy)
        limits = self.peer.timeouts
        self._transport = httpx.AsyncHTTPTransport(
            verify=_tls_context() if self._base.scheme == "https" else False,
            trust_env=False,
            proxy=_outbound_proxy(self._base),
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=MAX_IDLE,
                keepalive_expiry=limits.idle_conn_s or None,
            ),
            socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] if limits.keepalive_s else [],
        )

    async def ask(self, request: PeerRequest) -> _PeerResponse:
        """The response, as soon as its head is there. Raises `httpx.HTTPError` or `_HeadTimedOut`."""
        limits = self.peer.timeouts
        with trio.CancelScope() as waiting:

            async def trace(event: str, details: dict[str, Any]) -> None:
                if event.endswith("send_request_body.complete") and limits.response_header_s:
                    waiting.deadline = trio.current_time() + limits.response_header_s
                elif event.endswith("receive_response_headers.complete"):
                    waiting.deadline = float("inf")

            response = await self._transport.handle_async_request(self._as_httpx(request, trace))
            return _PeerResponse(response)
        raise _HeadTimedOut(f"no answer within {limits.response_header_s} s")

    def _as_httpx(self, request: PeerRequest, trace: Any) -> httpx.Request:
        body = request.body
        headers = list(request.headers)
        if isinstance(body, StreamedBody):
            if body.length is not None:
                headers.append((b"content-length", b"%d" % body.length))
        elif not body and request.method in _BODY_EXPECTED:
            headers.append((b"content-length", b"0"))
        return httpx.Request(
            request.method.decode("ascii"),
            self._base,
            headers=[(b"host", self._base.netloc), *headers],
            content=body.pieces if isinstance(body, StreamedBody) else body or None,
            extensions={
                # As it is: httpx would write some of the escapes differently.
                "target": _target(self._base, request.path, request.query),
                "timeout": {"connect": self.peer.timeouts.connect_s or None},
                "trace": trace,
            },
        )

    async def aclose(self) -> None:
        with trio.move_on_after(CLOSE_S, shield=True):
            await self._transport.aclose()


class _PeerResponse:
    """A peer's response, read like one of a local upstream."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        self._stream = stream
        self._chunks: AsyncIterator[bytes] = stream.__aiter__()
        self.status = response.status_code
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers.raw]
        self.trailers: Headers = []
        self.ended = False

    def take(self) -> bytes:
        return b""

    async def receive(self) -> bytes:
        """The next bytes of the body. Raises `UpstreamError`."""
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self.ended = True
            return b""
        except httpx.HTTPError as error:
            raise _PeerFailed(_cause(error)) from error

    async def aclose(self) -> None:
        with trio.move_on_after(CLOSE_S, shield=True):
            await self._stream.aclose()


def _target(base: httpx.URL, path: bytes, query: bytes) -> bytes:
    own_path, _, own_query = base.raw_path.partition(b"?")
    target = own_path.rstrip(b"/") + path
    queries = b"&".join(part for part in (own_query, query) if part)
    return target + b"?" + queries if queries else target


def _tls_context() -> ssl.SSLContext:
    """What the machine trusts, or `SSL_CERT_FILE`; HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _outbound_proxy(url: httpx.URL) -> str | None:
    """The proxy that the environment names for this URL; none for this machine."""
    if url.host.startswith(_LOOPBACK) or proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)


def _cause(error: BaseException) -> str:
    """What happened, from the innermost exception that says so."""
    inner = error.__cause__ or error.__context__
    causes = getattr(inner, "exceptions", ())
    told = str(error) or (_cause(causes[0]) if causes else _cause(inner) if inner else "")
    return told or type(error).__name__
