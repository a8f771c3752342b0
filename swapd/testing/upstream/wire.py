"""HTTP/1.1 for the fake upstream, without sockets: bytes to requests, answers to bytes (RFC 9112).

Deliberately plain: it serves tests, so it is strict about framing (what a proxy sends it must be right)
and does nothing else cleverly.
"""

from __future__ import annotations

import json
from hashlib import sha256
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

KEPT_BODY_BYTES = 8 * 1024 * 1024
"""How much of a request body is kept; of the rest only length and checksum are."""

_MAX_HEAD_BYTES = 256 * 1024

LAST_CHUNK = b"0\r\n\r\n"


class WireError(ValueError):
    """The peer broke HTTP/1.1; the text says how."""


class Request:
    """A received request: head complete, body as far as it has come.

    Mutable state: `body` (at most `KEPT_BODY_BYTES`), `body_length`, the running checksum and `complete`,
    all changed only by `RequestReader`.
    """

    def __init__(self, method: str, target: str, version: str, headers: list[tuple[str, str]]) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        parts = urlsplit(target)
        self.path = unquote(parts.path)
        self.query = {
            name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        self.body = bytearray()
        self.body_length = 0
        self.complete = False
        self._checksum = sha256()

    def header(self, name: str) -> str | None:
        """The first value of a header, named in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def keep_alive(self) -> bool:
        connection = (self.header("connection") or "").lower()
        return "close" not in connection and (self.version == "1.1" or "keep-alive" in connection)

    @property
    def body_sha256(self) -> str:
        """Hexadecimal SHA-256 of the body received so far, after transfer decoding."""
        return self._checksum.hexdigest()

    def json(self) -> dict[str, object]:
        """The body as a JSON object; an empty one when it is something else."""
        try:
            value = json.loads(bytes(self.body))
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def _take(self, data: bytes) -> None:
        self.body_length += len(data)
        self._checksum.update(data)
        self.body += data[: max(0, KEPT_BODY_BYTES - len(self.body))]


class RequestReader:
    """Feeds on what arrives on one connection and gives out requests, one after the other.

    Mutable state: the bytes not yet understood, and the request whose body is being read. Use: `feed`
    what was received, then call `next_request` until it returns None. `interim` holds bytes to send at
    once (100 Continue); the caller clears it.
    """

    def __init__(self) -> None:
        self.current: Request | None = None
        self.interim = b""
        self._buffer = bytearray()
        self._remaining = 0
        self._chunked = False
        self._in_chunk = False

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_request(self) -> Request | None:
        """The next request whose body is complete, or None when more bytes are needed.

        Raises WireError; the connection is then of no further use.
        """
        if self.current is None and not self._read_head():
            return None
        request = self.current
        assert request is not None
        done = self._read_chunks(request) if self._chunked else self._read_length(request)
        if not done:
            return None
        request.complete = True
        self.current = None
        return request

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise WireError("request head too long")
            return False
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        self.current = _parse_head(head)
        self._frame(self.current)
        if (self.current.header("expect") or "").lower() == "100-continue":
            self.interim += b"HTTP/1.1 100 Continue\r\n\r\n"
        return True

    def _frame(self, request: Request) -> None:
        coding, length = request.header("transfer-encoding"), request.header("content-length")
        if coding is not None and length is not None:
            raise WireError("both Transfer-Encoding and Content-Length (RFC 9112 §6.3)")
        if coding is not None and coding.lower() != "chunked":
            raise WireError(f"transfer coding {coding!r}")
        if length is not None and not length.isdigit():
            raise WireError(f"Content-Length {length!r}")
        self._chunked = coding is not None
        self._remaining = int(length or 0)
        self._in_chunk = False

    def _read_length(self, request: Request) -> bool:
        self._move(request)
        return self._remaining == 0

    def _read_chunks(self, request: Request) -> bool:
        while True:
            if self._in_chunk:
                self._move(request)
                if self._remaining or len(self._buffer) < 2:
                    return False
                if self._buffer[:2] != b"\r\n":
                    raise WireError("chunk data not followed by CRLF")
                del self._buffer[:2]
                self._in_chunk = False
            line_end = self._buffer.find(b"\r\n")
            if line_end < 0:
                return False
            if not (size := _chunk_size(bytes(self._buffer[:line_end]))):
                return self._skip_trailers(line_end)
            del self._buffer[: line_end + 2]
            self._remaining, self._in_chunk = size, True

    def _skip_trailers(self, line_end: int) -> bool:
        """Drop the last chunk and its trailer fields; False until all of it has arrived."""
        end = self._buffer.find(b"\r\n\r\n", line_end)
        if end < 0:
            return False
        del self._buffer[: end + 4]
        return True

    def _move(self, request: Request) -> None:
        part = bytes(self._buffer[: self._remaining])
        del self._buffer[: len(part)]
        self._remaining -= len(part)
        request._take(part)


def _parse_head(head: str) -> Request:
    first, *lines = head.split("\r\n")
    try:
        method, target, protocol = first.split(" ")
        headers = [(name, value.strip()) for name, value in (line.split(":", 1) for line in lines)]
    except ValueError:
        raise WireError(f"malformed request head, it begins {first!r}") from None
    if protocol not in ("HTTP/1.0", "HTTP/1.1"):
        raise WireError(f"protocol {protocol!r}")
    return Request(method, target, protocol.removeprefix("HTTP/"), headers)


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.split(b";", 1)[0], 16)
    except ValueError:
        raise WireError(f"chunk size {line!r}") from None


def head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """Status line and header fields, with the empty line that ends them."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", "Server: fake-upstream"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reply(status: int, content_type: str, body: bytes, *extra: tuple[str, str]) -> bytes:
    """A whole answer of known length."""
    return head(status, [("Content-Type", content_type), *extra, ("Content-Length", str(len(body)))]) + body


def json_reply(status: int, value: object, *extra: tuple[str, str]) -> bytes:
    return reply(status, "application/json; charset=utf-8", json.dumps(value).encode(), *extra)


def error_reply(status: int, message: str, kind: str = "server_error") -> bytes:
    """An error in OpenAI's shape, as model servers send it."""
    return json_reply(status, {"error": {"message": message, "type": kind, "code": status}})


def stream_head(content_type: str) -> bytes:
    return head(
        200,
        [("Content-Type", content_type), ("Cache-Control", "no-cache"), ("Transfer-Encoding", "chunked")],
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: object, name: str = "") -> bytes:
    """One server-sent event (WHATWG HTML, server-sent events), as a chunk."""
    prefix = f"event: {name}\n" if name else ""
    return chunk(f"{prefix}data: {json.dumps(value)}\n\n".encode())


DONE_EVENT = chunk(b"data: [DONE]\n\n")
"""OpenAI's end of a stream."""
