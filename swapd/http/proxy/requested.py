"""Which model a request asks for, and whether it wants a stream: told by its body or its query."""

from __future__ import annotations

from msgspec import Struct

from swapd.http.errors import header
from swapd.http.proxy.forms import first_value
from swapd.http.proxy.json_fields import JsonFields, read_fields
from swapd.http.server.asgi import Scope


class Requested(Struct, eq=False):
    """What the client asks for. `name` is as it was sent, and empty if the request names no model."""

    name: str
    stream: bool
    json: JsonFields | None = None
    """Where the name stands, if in a JSON body."""


def requested_by(scope: Scope, body: bytes) -> Requested:
    """Read the request's wishes. Never fails: what cannot be read names no model.

    A JSON body is asked alone; any other body leaves the query as second choice.
    """
    if scope["method"] in ("GET", "HEAD"):
        return _by_query(scope)
    content_type = header(scope, b"content-type").lower()
    if b"application/json" in content_type:
        fields = read_fields(body)
        return Requested(fields.model, fields.stream, fields)
    if content_type.startswith(b"application/x-www-form-urlencoded"):
        return _by_form(body, scope)
    return _by_query(scope)


def _by_query(scope: Scope) -> Requested:
    query = scope["query_string"]
    return Requested(first_value(query, "model") or "", first_value(query, "stream") == "true")


def _by_form(body: bytes, scope: Scope) -> Requested:
    by_query = _by_query(scope)
    name, stream = first_value(body, "model"), first_value(body, "stream")
    return Requested(
        by_query.name if name is None else name,
        by_query.stream if stream is None else stream == "true",
    )
