"""Reading one HTTP/1.1 response after another from a connection's bytes.

Owns no socket: bytes go in with `feed`, and what they meant is in the fields. llhttp (httptools) does the
parsing, in its strict mode; this class keeps what httptools leaves to its user: interim responses, responses
without a body, the end by close, trailers, and a bound on what a head may take.
"""

from __future__ import annotations

import httptools

from swapd.http.upstream.errors import BadResponse, ConnectionLost

MAX_HEAD_BYTES = 64 * 1024
"""How much may be read without one byte of body: heads, interim responses and trailers together."""

Headers = list[tuple[bytes, bytes]]


class ResponseParser:
    """The response being read. All fields are changed by `begin`, `feed` and `end_of_stream` only.

    `status`, `reason` and `headers` are complete when `head_complete` is set; names are lower-case, pairs in
    the order of arrival. `trailers` is complete when `ended` is set. `heard` says that at least one byte has
    arrived, and `overrun` that more has than belongs to the response, after which the connection is good for
    nothing.
    """

    __slots__ = (
        "_chunks",
        "_expects_body",
        "_interim",
        "_parser",
        "_silent_bytes",
        "ended",
        "head_complete",
        "headers",
        "heard",
        "keep_alive",
        "overrun",
        "reason",
        "status",
        "trailers",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._expects_body = True
        self.begin(expects_body=True)

    def begin(self, *, expects_body: bool) -> None:
        """Make ready for the next response. `expects_body` is False after a HEAD request only."""
        if not self._expects_body:
            # llhttp does not know about HEAD: it still waits for the body that such a response announces.
            self._parser = httptools.HttpResponseParser(self)
        self._expects_body = expects_body
        self._interim = False
        self._chunks: list[bytes] = []
        self._silent_bytes = 0
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.trailers: Headers = []
        self.heard = False
        self.head_complete = False
        self.ended = False
        self.keep_alive = False
        self.overrun = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what was read. Raises `BadResponse` if it is not what an HTTP/1.1 server may send."""
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadResponse("switched protocols, which nobody had asked for") from None
        except httptools.HttpParserError as error:
            if not self.ended:
                cause = error.__context__ if isinstance(error.__context__, BadResponse) else error
                raise BadResponse(f"not a valid HTTP/1.1 response: {cause}") from None
            self.overrun = True
        if self._chunks or self.ended:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._silent_bytes > MAX_HEAD_BYTES:
                raise BadResponse(f"sent more than {MAX_HEAD_BYTES} bytes of headers")

    def end_of_stream(self) -> None:
        """The upstream has closed, which ends a response without another end, else `ConnectionLost`."""
        if not self.head_complete:
            raise ConnectionLost(
                "closed the connection before its response" + (" was complete" if self.heard else "")
            )
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            raise ConnectionLost("closed the connection in the middle of its response")
        self.ended = True

    def take(self) -> bytes:
        """The body bytes that have come in since the last call; empty if there are none."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks = []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    # -- called by httptools ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.ended:
            raise BadResponse("more than one response")

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            # The coding would go lost with the header, which is meant for this connection only.
            raise BadResponse(f"transfer coding {value.decode('latin-1')!r}, which was not asked for")
        if self.head_complete:
            self.trailers.append((name, value))
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self.headers = []
            self.reason = b""
            return
        self.status = status
        self.head_complete = True
        if not self._expects_body:
            self.ended = True
            self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, chunk: bytes) -> None:
        if self.ended:
            raise BadResponse("a body after a HEAD request")
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.ended:
            self.ended = True
            self.keep_alive = self._parser.should_keep_alive()
