"""Writing an HTTP/1.1 response: status line, header fields, framing, trailers (RFC 9112 §4 to §7).

Owns no socket: what an app says goes in, bytes to send come out. The head is held back until the first part
of the body, so that both leave together and a body of one part needs no chunks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from enum import Enum
from http import HTTPStatus
from wsgiref.handlers import format_date_time

_FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MAX_KNOWN_NAMES = 1024

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}
_CLASS_REASONS = {2: "Success", 3: "Redirection", 4: "Client Error", 5: "Server Error"}


class _Field(Enum):
    """Header fields that mean something to the server itself."""

    DATE = "date"
    CONTENT_LENGTH = "content-length"
    CONNECTION = "connection"
    DROPPED = "hop-by-hop, and the server's own business"


# Valid names seen so far, in the spelling they came in; None is an ordinary one. A dict look-up per field is
# all that a well-behaved response costs in validation.
_known_names: dict[bytes, _Field | None] = {}
_SPECIAL = {
    b"date": _Field.DATE,
    b"content-length": _Field.CONTENT_LENGTH,
    b"connection": _Field.CONNECTION,
    b"keep-alive": _Field.DROPPED,
    b"proxy-connection": _Field.DROPPED,
    b"transfer-encoding": _Field.DROPPED,
}


class ResponseError(RuntimeError):
    """The app has sent something that is not a response, or not at this point of one."""


class Stage(Enum):
    """How far a response has come. `HEAD` is a head given by the app but not yet turned into bytes."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    TRAILERS = "trailers"
    DONE = "done"


class Response:
    """One response. Mutable state: `stage`, and what its framing has left to send.

    `persistent` says whether the connection is to be kept after it; whoever writes the head may set it to
    False until then, and must look at it at the end. `until_close` is set when the end of the body is the
    end of the connection, for a client of HTTP/1.0 and a body of unknown length.
    """

    __slots__ = (
        "_bodyless",
        "_chunked",
        "_fields",
        "_keep_alive_said",
        "_left",
        "_old",
        "_wants_trailers",
        "persistent",
        "stage",
        "status",
        "until_close",
    )

    def __init__(self, method: str, version: str, *, persistent: bool) -> None:
        self._bodyless = method == "HEAD"
        self._old = version == "1.0"
        self._chunked = False
        self._wants_trailers = False
        self._keep_alive_said = False
        self._left: int | None = None  # bytes of body to come, where a length was given
        self._fields = b""
        self.persistent = persistent
        self.stage = Stage.IDLE
        self.status = 0
        self.until_close = False

    def start(
        self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), *, trailers: bool = False
    ) -> None:
        """Take the head. Raises `ResponseError` if it cannot be sent; nothing has happened then."""
        if self.stage is not Stage.IDLE:
            raise ResponseError("the response has begun already")
        line = _status_lines.get(status) or _status_line(status)
        parts = [line]
        lines = 1
        dated = False
        length: int | None = None
        for name, value in headers:
            special = _known_names[name] if name in _known_names else _examine(name)
            if special is not None:
                if special is _Field.CONTENT_LENGTH:
                    if length is not None or status == 204:
                        _check_repeated(length, value)
                        continue
                    length = _parse_length(value)
                elif special is _Field.DATE:
                    dated = True
                else:
                    if special is _Field.CONNECTION:
                        self._take_connection(value)
                    continue
            parts += (name, b": ", value, b"\r\n")
            lines += 1
        if not dated:
            parts.append(_date_line())
            lines += 1
        fields = b"".join(parts)
        if fields.count(b"\n") != lines or fields.count(b"\r") != lines or fields.find(b"\0") >= 0:
            raise ResponseError("a header value contains CR, LF or NUL")
        self._fields = fields
        self._left = length
        self._bodyless = self._bodyless or status in (204, 304)
        self._wants_trailers = trailers
        self.status = status
        self.stage = Stage.HEAD

    def _take_connection(self, value: bytes) -> None:
        """The app may ask for the connection to be closed; its other wishes are the server's to decide."""
        tokens = {token.strip() for token in value.lower().split(b",")}
        if b"close" in tokens:
            self.persistent = False
        self._keep_alive_said = b"keep-alive" in tokens

    def body(self, part: bytes, *, more: bool) -> bytes:
        """The bytes that a part of the body becomes, after the head if it is still due; may be empty.

        Raises `ResponseError` for a body that is longer, or at its end shorter, than the length in the head.
        An empty part with more to come sends the head at once.
        """
        if self.stage is not Stage.HEAD and self.stage is not Stage.BODY:
            raise ResponseError("a part of a body is not due here")
        if self._left is not None and not self._bodyless:
            self._count(len(part), more)
        head = b""
        if self.stage is Stage.HEAD:
            head = self._finish_head(None if more or self._wants_trailers else len(part))
        if self._bodyless:
            data = head
        elif self._chunked:
            data = b"%b%x\r\n%b\r\n" % (head, len(part), part) if part else head
            if not more:
                data += b"0\r\n" if self._wants_trailers else b"0\r\n\r\n"
        else:
            data = head + part if head else part
        if not more:
            self.stage = Stage.TRAILERS if self._wants_trailers else Stage.DONE
        return data

    def trailers(self, headers: Iterable[tuple[bytes, bytes]], *, more: bool) -> bytes:
        """The bytes that trailer fields become: none, where the framing has no room for them."""
        if self.stage is not Stage.TRAILERS:
            raise ResponseError("trailers are not due here")
        data = _encode(headers)
        if not more:
            data += b"\r\n"
            self.stage = Stage.DONE
        return data if self._chunked else b""

    def _finish_head(self, whole_length: int | None) -> bytes:
        """Settle the framing. `whole_length` is the body's if its only part is at hand, else None."""
        self.stage = Stage.BODY
        head = [self._fields]
        self._fields = b""
        if self._left is None and not self._bodyless:
            if whole_length is not None:
                head.append(b"content-length: %d\r\n" % whole_length)
            elif self._old:
                self.until_close = True
                self.persistent = False
            else:
                self._chunked = True
                head.append(b"transfer-encoding: chunked\r\n")
        if not self.persistent:
            head.append(b"connection: close\r\n")
        elif self._old or self._keep_alive_said:
            head.append(b"connection: keep-alive\r\n")
        head.append(b"\r\n")
        return b"".join(head)

    def _count(self, size: int, more: bool) -> None:
        assert self._left is not None
        if size > self._left:
            raise ResponseError(f"the body is longer than its Content-Length by {size - self._left} bytes")
        self._left -= size
        if self._left and not more:
            raise ResponseError(f"the body is shorter than its Content-Length by {self._left} bytes")


def switching_protocols(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole answer that turns a connection into a WebSocket. Raises `ResponseError`."""
    return b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % _encode(headers)


def plain_error(
    status: int, text: str, *, bodyless: bool = False, extra: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """A whole answer of the server's own, after which the connection is closed."""
    body = f"{status} {_reason(status)}: {text}\n".encode()
    response = Response("HEAD" if bodyless else "GET", "1.1", persistent=False)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    response.start(status, [*headers, *extra])
    return response.body(body, more=False)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def _reason(status: int) -> str:
    return _REASONS.get(status) or _CLASS_REASONS.get(status // 100, "Unknown")


def _status_line(status: int) -> bytes:
    if not 200 <= status <= 999:
        raise ResponseError(f"{status} is not the status of a final response")
    return f"HTTP/1.1 {status} {_reason(status)}\r\n".encode("ascii")


_status_lines = {status: _status_line(status) for status in _REASONS if status >= 200}


def _encode(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they are given, once checked."""
    parts = []
    for name, value in headers:
        if name not in _known_names:
            _examine(name)
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise ResponseError(f"the value of {name!r} contains CR, LF or NUL")
        parts += [name, b": ", value, b"\r\n"]
    return b"".join(parts)


def _examine(name: bytes) -> _Field | None:
    """Check a field name not seen before, and remember it, within reason: upstreams choose them."""
    if _FIELD_NAME.fullmatch(name) is None:
        raise ResponseError(f"{name!r} is not a header field name")
    special = _SPECIAL.get(name.lower())
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names[bytes(name)] = special
    return special


def _parse_length(value: bytes) -> int:
    if not value.isdigit():
        raise ResponseError(f"{value!r} is not a Content-Length")
    return int(value)


def _check_repeated(length: int | None, value: bytes) -> None:
    if length is not None and _parse_length(value) != length:
        raise ResponseError("two different Content-Length fields")


_date_second = 0
_date = b""
_date_field = b""


def date() -> bytes:
    """The value of the Date field (RFC 9110 §6.6.1), made once a second."""
    _date_line()
    return _date


def _date_line() -> bytes:
    global _date_second, _date, _date_field
    now = int(time.time())
    if now != _date_second:
        _date_second = now
        _date = format_date_time(now).encode("ascii")
        _date_field = b"date: %b\r\n" % _date
    return _date_field
