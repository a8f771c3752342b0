"""httpx on top of the same client: for everything off the hot path that talks to plain-http servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import trio
from msgspec import structs

from swapd.http.upstream.address import BaseURL
from swapd.http.upstream.errors import (
    BadResponse,
    BodyFailed,
    ConnectFailed,
    ConnectTimedOut,
    HeadTimedOut,
    SendTimedOut,
    UpstreamError,
)
from swapd.http.upstream.pool import Timeouts, UpstreamPool
from swapd.http.upstream.response import UpstreamResponse
from swapd.http.upstream.sending import StreamedBody

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

_EXCEPTIONS: tuple[tuple[type[UpstreamError], type[httpx.TransportError]], ...] = (
    (ConnectTimedOut, httpx.ConnectTimeout),
    (ConnectFailed, httpx.ConnectError),
    (HeadTimedOut, httpx.ReadTimeout),
    (SendTimedOut, httpx.WriteTimeout),
    (BadResponse, httpx.RemoteProtocolError),
    (UpstreamError, httpx.ReadError),
)
"""Ours → httpx's; the first that fits."""


class UpstreamTransport(httpx.AsyncBaseTransport):
    """An httpx transport for `http://` with one pool per host and port, at most 10 idle connections each.

    Honours the `connect`, `read` and `write` timeouts of a request; there is nothing to wait for that the
    `pool` timeout could limit. Proxies of the environment are not looked at, so it suits loopback as it is.

    The mutable state is `_pools`; requests add to it, `aclose` empties it.
    """

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self._timeouts = timeouts or Timeouts()
        self._pools: dict[tuple[str, int | None], UpstreamPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. Raises httpx's exceptions; cancelling it closes the connection at once."""
        limits: dict[str, float | None] = request.extensions.get("timeout", {})
        try:
            response = await self._pool(request.url).exchange(
                request.method.encode("ascii"),
                request.url.raw_path,
                [(name, value) for name, value in request.headers.raw if name.lower() not in _FRAMING],
                _body(request),
                timeouts=structs.replace(
                    self._timeouts,
                    connect_s=limits.get("connect") or self._timeouts.connect_s,
                    response_header_s=limits.get("read") or self._timeouts.response_header_s,
                    send_s=limits.get("write") or self._timeouts.send_s,
                ),
            )
        except UpstreamError as error:
            raise _translated(error, request) from error
        except BodyFailed as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_ResponseStream(response, request, limits.get("read")),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": response.reason},
        )

    async def aclose(self) -> None:
        """Close all idle connections; those in use are closed with their responses."""
        while self._pools:
            self._pools.popitem()[1].close()

    def _pool(self, url: httpx.URL) -> UpstreamPool:
        if url.scheme != "http":
            raise httpx.UnsupportedProtocol(f"only http:// is spoken here, not {url.scheme}://")
        key = (url.host, url.port)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = UpstreamPool(
                BaseURL.parse(f"http://{url.netloc.decode('ascii')}"), self._timeouts
            )
        return pool


class _ResponseStream(httpx.AsyncByteStream):
    """The body of a response, for httpx."""

    def __init__(
        self, response: UpstreamResponse, request: httpx.Request, read_timeout_s: float | None
    ) -> None:
        self._response = response
        self._request = request
        self._read_timeout_s = read_timeout_s

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        response = self._response
        chunk = response.take()
        try:
            while not chunk:
                if response.ended:
                    raise StopAsyncIteration
                chunk = await self._receive()
        except UpstreamError as error:
            raise _translated(error, self._request) from error
        return chunk

    async def aclose(self) -> None:
        self._response.close()

    async def _receive(self) -> bytes:
        if self._read_timeout_s is None:
            return await self._response.receive()
        with trio.move_on_after(self._read_timeout_s):
            return await self._response.receive()
        raise httpx.ReadTimeout(f"nothing came for {self._read_timeout_s:g} s", request=self._request)


def _body(request: httpx.Request) -> bytes | StreamedBody:
    stream: Any = request.stream
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream)
    length = request.headers.get("content-length")
    return StreamedBody(stream, int(length) if length is not None else None)


def _translated(error: UpstreamError, request: httpx.Request) -> httpx.TransportError:
    theirs = next(theirs for ours, theirs in _EXCEPTIONS if isinstance(error, ours))
    return theirs(str(error), request=request)
