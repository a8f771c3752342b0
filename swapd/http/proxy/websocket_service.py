"""Whom a WebSocket leads to, and on what terms: with a lease, without one, or to a peer.

An open WebSocket is an ordinary request of its model: it loads it, and holds it as long as it is open. A
model with `compat.ignoreWebsockets` does not notice it: it neither starts nor stays for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from swapd.config import ModelConfig
from swapd.http.errors import ErrorAnswer, Rejected
from swapd.http.proxy.dispatch import Dispatcher, Outgoing
from swapd.http.proxy.headers import headers_for_peer
from swapd.http.proxy.passthrough import Addressed
from swapd.http.proxy.targets import PeerTarget
from swapd.http.proxy.websockets import Destination, UpstreamRefused, bridge, deny
from swapd.http.record import RECORD
from swapd.http.server.asgi import ABORT, Headers, Receive, Scope, Send
from swapd.http.upstream import BaseURL, ConnectFailed, ConnectTimedOut, UnsupportedURL
from swapd.nursery.lease import Lease
from swapd.nursery.manager import Manager
from swapd.nursery.states import ModelState
from swapd.observe.logger import Logger


class Handshake(Struct, eq=False):
    """A client that asks for a WebSocket, and has not been accepted yet."""

    addressed: Addressed
    headers: Headers
    """Those for the upstream."""
    scope: Scope
    receive: Receive
    send: Send

    def outgoing(self, model: ModelConfig) -> Outgoing:
        """The same as a request for a local model."""
        addressed = self.addressed
        query = self.scope["query_string"]
        return Outgoing(model, b"GET", addressed.path, query, self.headers, b"", addressed.ready_only)

    async def bridge(self, destination: Destination, headers: Headers) -> None:
        """Connect both sides. What the upstream answers instead, the client gets; raises as `bridge` does."""
        try:
            await bridge(destination, headers, self.scope, self.receive, self.send)
        except UpstreamRefused as refused:
            await deny(refused, self.scope, self.send)


class WebSockets:
    """Serves WebSockets. Holds no state of its own."""

    def __init__(self, dispatcher: Dispatcher, manager: Manager, log: Logger) -> None:
        self._dispatcher = dispatcher
        self._manager = manager
        self._log = log

    async def serve(self, handshake: Handshake) -> None:
        """Serve one until it is closed. Raises `Rejected` as long as the client was not accepted.

        Cancelling it closes the connection to the upstream and gives the lease back at once.
        """
        target = handshake.addressed.target
        if isinstance(target, PeerTarget):
            await self._to_peer(target, handshake)
        elif target.compat.ignore_websockets:
            await self._unnoticed(target, handshake)
        else:
            await self._with_lease(target, handshake)

    async def _with_lease(self, model: ModelConfig, handshake: Handshake) -> None:
        scope, send = handshake.scope, handshake.send
        outgoing = handshake.outgoing(model)
        lease = self._manager.try_acquire(model.id) or await self._dispatcher.acquire(outgoing, scope)

        async def send_and_count(message: Mapping[str, Any]) -> None:
            lease.activity.chunks += 1
            await send(message)

        handshake.send = send_and_count
        try:
            with lease.scope:
                await self._bridge(lease.base_url, model, handshake)
            if lease.scope.cancelled_caught:
                await self._cut(lease, outgoing, scope)
        finally:
            lease.release()

    async def _cut(self, lease: Lease, outgoing: Outgoing, scope: Scope) -> None:
        """The lease has ended before the WebSocket: say so if that can still be said."""
        answer = await self._dispatcher.revoked(lease, outgoing)
        if not scope[RECORD].status:
            raise Rejected(answer)
        if lease.lost and (abort := scope.get("extensions", {}).get(ABORT)):
            abort()

    async def _unnoticed(self, model: ModelConfig, handshake: Handshake) -> None:
        standing = self._manager.snapshot().models.get(model.id)
        if standing is None or standing.state is not ModelState.READY:
            raise Rejected.with_code(
                "model_not_loaded",
                f"model {model.id} is not loaded; ignored websocket requests cannot start it",
            )
        await self._bridge(model.proxy.rstrip("/"), model, handshake)

    async def _bridge(self, url: str, model: ModelConfig, handshake: Handshake) -> None:
        limits = model.timeouts
        headers = handshake.headers
        try:
            base = BaseURL.parse(url)
            if not headers or headers[0][0] != b"host":
                headers = [(b"host", base.authority), *headers]
            destination = Destination(
                base.host,
                base.port,
                base.target(handshake.addressed.path, handshake.scope["query_string"]),
                connect_s=limits.connect_s,
                handshake_s=limits.response_header_s,
                keepalive_s=limits.keepalive_s,
            )
            await handshake.bridge(destination, headers)
        except (ConnectFailed, UnsupportedURL) as error:
            self._log.warn(f"[{model.id}] upstream error: {error}", event="upstream.failed", model=model.id)
            raise Rejected(ErrorAnswer("upstream_unreachable", f"upstream error: {error}")) from None

    async def _to_peer(self, target: PeerTarget, handshake: Handshake) -> None:
        query = handshake.scope["query_string"]
        destination = _peer_destination(target, handshake.addressed.path, query)
        try:
            await handshake.bridge(destination, headers_for_peer(handshake.headers, target.peer.api_key))
        except ConnectFailed as error:
            code = "peer_timeout" if isinstance(error, ConnectTimedOut) else "peer_error"
            raise Rejected(ErrorAnswer(code, f"peer proxy error: {error}")) from None


def _peer_destination(target: PeerTarget, path: bytes, query: bytes) -> Destination:
    parts = urlsplit(target.peer.proxy)
    # Host, path and query are taken apart as for a plain upstream; what is different is the way there.
    base = BaseURL.parse(target.peer.proxy.replace("https://", "http://", 1))
    is_tls = parts.scheme == "https"
    limits = target.peer.timeouts
    return Destination(
        base.host,
        parts.port or (443 if is_tls else 80),
        base.target(path, query),
        tls=ssl.create_default_context() if is_tls else None,
        connect_s=limits.connect_s,
        handshake_s=limits.response_header_s,
        keepalive_s=limits.keepalive_s,
    )
