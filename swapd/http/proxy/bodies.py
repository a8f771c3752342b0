"""Taking a request's body from the server: as a whole, or as it arrives."""

from __future__ import annotations

from attrs import define

from swapd.http.errors import Rejected, header
from swapd.http.server.asgi import ClientGone, Receive, Scope
from swapd.http.upstream import StreamedBody
from swapd.http.upstream.pool import SMALL_BODY


async def whole_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The body, complete. Raises `Rejected` once it is known to exceed `limit` bytes (0 = no limit)."""
    if limit and (content_length(scope) or 0) > limit:
        raise _too_large(limit)
    first, more = await _next_piece(receive)
    if not more and not limit:
        return first
    pieces = [first]
    size = len(first)
    if limit and size > limit:
        raise _too_large(limit)
    while more:
        piece, more = await _next_piece(receive)
        size += len(piece)
        if limit and size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def body_pieces(scope: Scope, receive: Receive, limit: int) -> LimitedPieces:
    """The body as it arrives. Raises `Rejected`, now or later, once it is known to exceed `limit` bytes."""
    if limit and (content_length(scope) or 0) > limit:
        raise _too_large(limit)
    return LimitedPieces(receive, limit)


async def passing_body(scope: Scope, receive: Receive) -> bytes | StreamedBody:
    """The body for an upstream that is to get it as it comes.

    A small one is collected first: then the request can be sent on a connection that was used before, and
    again on another if that one turns out to have been closed.
    """
    length = content_length(scope)
    if length is not None and length <= SMALL_BODY:
        return await whole_body(scope, receive, 0)
    if length is not None or header(scope, b"transfer-encoding"):
        return StreamedBody(_Pieces(receive), length)
    if scope["http_version"].startswith("1"):
        return b""
    # HTTP/2 needs neither header to carry a body.
    first, more = await _next_piece(receive)
    return StreamedBody(_Pieces(receive, first)) if more else first


def content_length(scope: Scope) -> int | None:
    """What the request's `Content-Length` says, in bytes; None if there is none."""
    value = header(scope, b"content-length")
    return int(value) if value.isdigit() else None


async def _next_piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limit: int) -> Rejected:
    return Rejected.with_code(
        "request_too_large", f"the request body is larger than the {limit} bytes that maxRequestBody allows"
    )


@define(eq=False)
class LimitedPieces:
    """An async iterator over the pieces of a body that may have a limit (0: none), in bytes."""

    _receive: Receive
    _limit: int
    _size: int = 0
    _more: bool = True

    def __aiter__(self) -> LimitedPieces:
        return self

    async def __anext__(self) -> bytes:
        if not self._more:
            raise StopAsyncIteration
        piece, self._more = await _next_piece(self._receive)
        self._size += len(piece)
        if self._limit and self._size > self._limit:
            raise _too_large(self._limit)
        return piece


@define(eq=False)
class _Pieces:
    """An async iterator over the pieces of a body; ends after the last."""

    _receive: Receive
    _first: bytes = b""
    _more: bool = True

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if not self._more:
            raise StopAsyncIteration
        piece, self._more = await _next_piece(self._receive)
        return piece
