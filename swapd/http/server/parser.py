"""Reading HTTP/1.1 requests from the bytes of a connection.

Owns no socket: bytes go in with `RequestParser.feed`, requests come out in `RequestParser.requests`. llhttp
(httptools) parses, in its strict mode, which refuses what request smuggling is made of: bare LF, folded
lines, white space before a colon, two lengths, a length beside a transfer coding. This module adds what
llhttp leaves to its user: the size of a head, the Host field, versions, upgrades, and the forms of a target.

Everything that one read brought is parsed at once, as httptools cannot stop in between. What a client may
pipeline is therefore bounded by the size of a read and by `MAX_PIPELINED`.
"""

from __future__ import annotations

import httptools

from swapd.http.server.asgi import Headers

MAX_FIELDS = 256
"""Header fields in one request. A field costs some 130 bytes here and may be four on the wire."""

MAX_PIPELINED = 32
"""Requests parsed ahead. A connection that brings more is closed after these, and its client tries again
(RFC 9112 §9.3.2)."""

_NOTED = frozenset({b"content-length", b"expect", b"host", b"transfer-encoding", b"upgrade"})
_HOP_TO_HTTP2 = frozenset({b"upgrade", b"http2-settings"})


class BadRequest(Exception):
    """A request that cannot be served: the status to answer with, and a line for the client to read."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Request:
    """A request whose head is complete, and its body as far as it has arrived.

    `target` is the request target as received. `chunks` are the parts of the body that nobody has taken yet,
    and `complete` says that no more will follow. `websocket` marks the handshake of a WebSocket. All fields
    are changed by the parser only, except that `chunks` is emptied by whoever takes them.
    """

    __slots__ = (
        "chunks",
        "complete",
        "content_length",
        "expects_continue",
        "headers",
        "keep_alive",
        "method",
        "target",
        "version",
        "websocket",
    )

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.version = ""
        self.headers: Headers = []
        self.keep_alive = False
        self.content_length = 0
        self.expects_continue = False
        self.websocket = False
        self.chunks: list[bytes] = []
        self.complete = False


class RequestParser:
    """Turns bytes into requests.

    `requests` are those whose heads are complete and that nobody has taken, in order; only the last of them
    can still be growing. `in_head` says that a head has begun and is not complete. `failed` is set by the
    first bytes that make no sense: whatever follows is ignored, requests before it remain good. `refused` is
    set in the same way once more than `MAX_PIPELINED` requests are waiting. `beyond` is what arrived behind
    the handshake of a WebSocket; it is None until there was one.
    """

    __slots__ = (
        "_fields",
        "_hosts",
        "_max_head_bytes",
        "_parser",
        "_receiving",
        "_silent_bytes",
        "_transfer_coding",
        "_upgrades",
        "beyond",
        "failed",
        "in_head",
        "refused",
        "requests",
    )

    def __init__(self, max_head_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self.requests: list[Request] = []
        self.in_head = False
        self.failed: BadRequest | None = None
        self.refused = False
        self.beyond: bytes | None = None
        self._silent_bytes = 0  # fed since the last piece of a body, or end of a head
        self._renew()

    def _renew(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._receiving = Request()
        self._fields = self._receiving.headers
        self._hosts = 0
        self._transfer_coding = b""
        self._upgrades = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what was read. Never raises: see `failed`."""
        if self.failed is not None or self.refused or self.beyond is not None:
            return
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            self._fail(error)
        else:
            if self._silent_bytes > self._max_head_bytes or len(self._fields) > MAX_FIELDS:
                # Either an endless head, or trailers or chunk extensions without end behind a body.
                self.failed = BadRequest(431, "the request's header fields are too large")

    def close(self) -> None:
        """Let go of the C parser, which refers back to this object."""
        del self._parser

    def _fail(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if isinstance(cause, _TooManyRequests):
            self.refused = True
        elif isinstance(cause, BadRequest):
            self.failed = cause
        else:
            self.failed = BadRequest(400, f"not a valid HTTP/1.1 request ({error})")

    def _upgrade(self, beyond: bytes) -> None:
        """llhttp has met a request to upgrade, and stopped behind its head.

        For a WebSocket that is right. Any other protocol (h2c above all, which some clients try on their
        own accord) is not spoken here; the request is then served as if it had not asked (RFC 9110 §7.8).
        llhttp passes over the body of such a request, so it is read once more without the field.
        """
        request = self._receiving
        if request.websocket:
            self.beyond = beyond
            return
        self.requests.remove(request)
        if request.method == "CONNECT":  # llhttp takes each for an upgrade, whatever its fields say
            self.failed = _no_tunnel()
            return
        head = _without_upgrade(request)
        self._renew()
        self.feed(head + beyond)

    # What httptools calls.

    def on_message_begin(self) -> None:
        if len(self.requests) >= MAX_PIPELINED:
            raise _TooManyRequests
        request = self._receiving = Request()
        self._fields = request.headers
        self._hosts = 0
        self._transfer_coding = b""
        self._upgrades = False
        self.in_head = True

    def on_url(self, part: bytes) -> None:
        self._receiving.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.rstrip()
        if name in _NOTED:
            self._note(name, value)
        self._fields.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"content-length":
            self._receiving.content_length = int(value)
        elif name == b"transfer-encoding":
            self._transfer_coding += value
        elif name == b"expect":
            self._receiving.expects_continue = value.lower() == b"100-continue"
        else:
            self._upgrades = self._upgrades or b"websocket" in value.lower().replace(b",", b" ").split()

    def on_headers_complete(self) -> None:
        request = self._receiving
        parser = self._parser
        request.method = parser.get_method().decode("ascii")
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        if self._silent_bytes > self._max_head_bytes or len(self._fields) > MAX_FIELDS:
            self._check_size(request)
        if request.version == "1.1":
            if self._hosts != 1:
                raise BadRequest(400, "an HTTP/1.1 request needs exactly one Host field")
        else:
            self._check_old(request)
        if self._transfer_coding:
            self._check_coding()
        if request.target[:1] != b"/":
            _check_target(request)
        if self._upgrades and request.method == "GET" and request.version == "1.1":
            request.websocket = parser.should_upgrade()
        self._silent_bytes = 0
        self.in_head = False
        self._fields = []  # for trailers, which are dropped
        self.requests.append(request)

    def on_body(self, part: bytes) -> None:
        self._receiving.chunks.append(part)
        self._silent_bytes = 0

    def on_message_complete(self) -> None:
        self._receiving.complete = True
        self._silent_bytes = 0

    def _check_size(self, request: Request) -> None:
        size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
        if size > self._max_head_bytes or len(request.headers) > MAX_FIELDS:
            raise BadRequest(431, "the request's header fields are too large")

    def _check_coding(self) -> None:
        """A body that ends in chunks but was coded before. llhttp refuses one that does not end in them."""
        coding = self._transfer_coding.lower()
        if coding != b"chunked" and coding.endswith(b"chunked"):
            raise BadRequest(501, "no transfer coding but chunked is understood")

    def _check_old(self, request: Request) -> None:
        if request.version != "1.0":
            raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        if self._transfer_coding:
            raise BadRequest(400, "HTTP/1.0 has no transfer codings")
        request.expects_continue = False


class _TooManyRequests(Exception):
    """Stops the parser at the first request beyond `MAX_PIPELINED`."""


def _check_target(request: Request) -> None:
    """A target that is not a path: absolute (RFC 9112 §3.2.2), an authority (§3.2.3) or `*` (§3.2.4)."""
    if request.method == "CONNECT":
        raise _no_tunnel()
    if request.target == b"*":
        if request.method != "OPTIONS":
            raise BadRequest(400, "the target * is for OPTIONS only")
    elif b"://" not in request.target:
        raise BadRequest(400, "the request target is neither a path nor an absolute URL")


def _no_tunnel() -> BadRequest:
    return BadRequest(501, "this server is not a tunnel")


def _without_upgrade(request: Request) -> bytes:
    """The head of `request` as it would be had it not asked for another protocol."""
    lines = [f"{request.method} ".encode() + request.target + f" HTTP/{request.version}".encode()]
    for name, value in request.headers:
        if name == b"connection":
            tokens = (token.strip() for token in value.split(b","))
            value = b", ".join(token for token in tokens if token.lower() not in _HOP_TO_HTTP2)
        if name not in _HOP_TO_HTTP2:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])
