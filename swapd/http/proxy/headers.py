"""Headers on their way through: what belongs to one connection only stays behind (RFC 9110 §7.6.1)."""

from __future__ import annotations

from collections.abc import Iterable

from swapd.http.errors import chosen_id
from swapd.http.server.asgi import Headers, Scope

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_NOT_AS_IT_IS = _HOP_BY_HOP | {
    b"accept-encoding",
    b"content-length",  # follows from the body that is sent
    b"expect",  # the server has answered it
    b"host",
    b"x-forwarded-for",
    b"x-request-id",
}
"""Request headers that are dropped or rewritten; all others are passed on."""

_LOOKED_AT = _HOP_BY_HOP | {b"content-type", b"x-accel-buffering", b"x-request-id"}
"""Response headers that are not simply passed on."""

_NOT_FOR_PEERS = frozenset(
    {b"host", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
)
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

_ENCODINGS_WE_READ = frozenset({b"gzip", b"deflate"})


def headers_for_upstream(scope: Scope, *, recorded: bool) -> Headers:
    """The request headers for a local upstream, without framing, and with `Host` first if there is one.

    The upstream sees the client's own `Host`, and the client's address appended to `X-Forwarded-For`. A
    client that did not ask for compression gets none. The answer to a `recorded` request will be looked into,
    so of the encodings asked for only those remain that can be read.
    """
    kept: Headers = []
    given_id = b""
    forwarded: list[bytes] = []
    encodings: list[bytes] = []
    connection: list[bytes] = []
    host: tuple[bytes, bytes] | None = None
    takes_trailers = False
    for pair in scope["headers"]:
        name = pair[0]
        if name not in _NOT_AS_IT_IS:
            kept.append(pair)
        elif name == b"host":
            host = host or pair
        elif name == b"accept-encoding":
            encodings.append(pair[1])
        elif name == b"x-forwarded-for":
            forwarded.append(pair[1])
        elif name == b"connection":
            connection.append(pair[1])
        elif name == b"x-request-id":
            given_id = given_id or pair[1]
        elif name == b"te":
            takes_trailers = takes_trailers or b"trailers" in pair[1].lower()
    if connection:
        kept = _without(kept, connection)
    if host is not None:
        kept.insert(0, host)
    if takes_trailers:
        kept.append((b"te", b"trailers"))
    kept.append((b"accept-encoding", _accept_encoding(encodings, recorded=recorded)))
    client = scope["client"]
    if client and client[0]:
        forwarded.append(client[0].encode("ascii"))
    if forwarded:
        kept.append((b"x-forwarded-for", b", ".join(forwarded)))
    kept.append((b"x-request-id", chosen_id(scope, given_id).encode("ascii")))
    return kept


def headers_for_peer(headers: Headers, api_key: str) -> Headers:
    """What of `headers`, which were made for a local upstream, a peer gets to see.

    Nothing of where the client is. With an `api_key`, that one instead of whatever credentials the client
    sent.
    """
    kept = [pair for pair in headers if pair[0] not in _NOT_FOR_PEERS]
    if api_key:
        key = api_key.encode()
        kept = [pair for pair in kept if pair[0] not in _CREDENTIALS]
        kept += [(b"authorization", b"Bearer " + key), (b"x-api-key", key)]
    return kept


def headers_for_client(headers: Headers, request_id: bytes) -> Headers:
    """The response headers for the client, who gets the request's id; one of the upstream's own moves aside.

    An event stream gets `X-Accel-Buffering: no`, so that a proxy in front of us does not hold events back.
    """
    kept: Headers = []
    connection: list[bytes] = []
    accel_buffering: Headers = []
    is_stream = False
    for pair in headers:
        name = pair[0]
        if name not in _LOOKED_AT:
            kept.append(pair)
        elif name == b"content-type":
            is_stream = is_stream or pair[1].lower().find(b"text/event-stream") >= 0
            kept.append(pair)
        elif name == b"connection":
            connection.append(pair[1])
        elif name == b"x-accel-buffering":
            accel_buffering.append(pair)
        elif name == b"x-request-id" and pair[1] != request_id:
            kept.append((b"x-upstream-request-id", pair[1]))
    if connection:
        kept = _without(kept, connection)
    kept.append((b"x-request-id", request_id))
    return kept + ([(b"x-accel-buffering", b"no")] if is_stream else accel_buffering)


def _without(headers: Headers, connection: Iterable[bytes]) -> Headers:
    """`headers` without those that the values of `Connection` name."""
    named = {token.strip().lower() for value in connection for token in value.split(b",")}
    return [pair for pair in headers if pair[0] not in named]


def _accept_encoding(values: list[bytes], *, recorded: bool) -> bytes:
    if not recorded:
        return b", ".join(values) or b"identity"
    items = [item.strip() for value in values for item in value.split(b",")]
    readable = [item for item in items if item.partition(b";")[0].strip().lower() in _ENCODINGS_WE_READ]
    return b", ".join(readable) or b"identity"
