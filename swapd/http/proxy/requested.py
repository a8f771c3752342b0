"""Which model a request asks for, and whether it wants a stream: told by its body or its query.

Reading never fails for what a client has written: what cannot be read names no model. The name can be
replaced where it was found, and nothing else changes.
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct

from swapd.http.errors import header
from swapd.http.proxy.bodies import body_pieces, whole_body
from swapd.http.proxy.forms import first_value, with_value
from swapd.http.proxy.json_fields import JsonFields, read_fields, replace_model
from swapd.http.proxy.multipart import Form, FormScanner, Malformed, Spool
from swapd.http.server.asgi import Receive, Scope
from swapd.http.upstream import StreamedBody


class Carrier(Enum):
    """What carries the model's name."""

    QUERY = auto()
    JSON = auto()
    URLENCODED = auto()
    MULTIPART = auto()


class Requested(Struct, eq=False):
    """What the client asks for. `name` is as it was sent, and empty if the request names no model.

    `rename` changes `name` together with what carries it: the query or the body. `close` gives back what a
    large form has taken of the disk.
    """

    name: str
    stream: bool
    carrier: Carrier
    query: bytes
    body: bytes | Form
    json: JsonFields | None = None
    """Where the name stands in a JSON body."""

    def rename(self, name: str) -> None:
        """Let the request ask for `name` instead; nothing happens if it names no model."""
        if not self.name:
            return
        self.name = name
        match self.carrier:
            case Carrier.JSON:
                assert isinstance(self.body, bytes)
                assert self.json is not None
                self.body = replace_model(self.body, self.json, name)
            case Carrier.MULTIPART:
                assert isinstance(self.body, Form)
                self.body.replace("model", name)
            case Carrier.URLENCODED:
                assert isinstance(self.body, bytes)
                self.body = with_value(self.body, "model", name)
            case Carrier.QUERY:
                self.query = with_value(self.query, "model", name)

    def leaving_body(self) -> bytes | StreamedBody:
        """The body as it is to be sent; from disk, it can be sent more than once."""
        if not isinstance(self.body, Form):
            return self.body
        if self.body.spool.on_disk:
            return StreamedBody(self.body.pieces(), self.body.length)
        return self.body.as_bytes()

    def close(self) -> None:
        if isinstance(self.body, Form):
            self.body.close()


async def read_request(scope: Scope, receive: Receive, limit: int) -> Requested:
    """Read a request, body and all, and what it asks for.

    Raises `Rejected` if its body is longer than `limit` bytes (0: no limit), and `ClientGone`.
    """
    content_type = b"" if scope["method"] in ("GET", "HEAD") else header(scope, b"content-type").lower()
    if content_type.find(b"multipart/form-data") >= 0 and content_type.find(b"application/json") < 0:
        return await _read_form(scope, receive, limit)
    return requested_by(scope, content_type, await whole_body(scope, receive, limit))


def requested_by(scope: Scope, content_type: bytes, body: bytes) -> Requested:
    """What a request with this body asks for, unless the body is a multipart form.

    `content_type` is in lower case, and empty for a request that has its wishes in the query. A JSON body is
    asked alone; any other body leaves the query as second choice. `curl -d` calls everything url-encoded that
    it is not told to be something else, so what begins like an object is JSON there too.
    """
    is_urlencoded = content_type.startswith(b"application/x-www-form-urlencoded")
    if content_type.find(b"application/json") >= 0 or (is_urlencoded and body[:64].lstrip()[:1] == b"{"):
        fields = read_fields(body)
        return Requested(fields.model, fields.stream, Carrier.JSON, scope["query_string"], body, fields)
    if is_urlencoded:
        return _by_urlencoded(scope, body)
    return _by_query(scope, body)


async def _read_form(scope: Scope, receive: Receive, limit: int) -> Requested:
    spool = Spool()
    try:
        scanner = FormScanner.for_content_type(header(scope, b"content-type"), ("model", "stream"))
        async for piece in body_pieces(scope, receive, limit):
            scanner.feed(piece)
            await spool.add(piece)
        scanner.finish()
        if spool.on_disk:
            await spool.flush()
    except Malformed:
        spool.close()
        return Requested("", False, Carrier.MULTIPART, scope["query_string"], b"")
    except BaseException:
        spool.close()
        raise
    return _by_form(scope, Form(spool, scanner.fields))


def _by_form(scope: Scope, form: Form) -> Requested:
    by_query = _by_query(scope, form)
    name, stream = form.value("model"), form.value("stream")
    if stream is not None:
        by_query.stream = stream == "true"
    if name is not None:
        by_query.name, by_query.carrier = name, Carrier.MULTIPART
    return by_query


def _by_query(scope: Scope, body: bytes | Form) -> Requested:
    query = scope["query_string"]
    name = first_value(query, "model") or ""
    return Requested(name, first_value(query, "stream") == "true", Carrier.QUERY, query, body)


def _by_urlencoded(scope: Scope, body: bytes) -> Requested:
    requested = _by_query(scope, body)
    name, stream = first_value(body, "model"), first_value(body, "stream")
    if stream is not None:
        requested.stream = stream == "true"
    if name is not None:
        requested.name, requested.carrier = name, Carrier.URLENCODED
    return requested
