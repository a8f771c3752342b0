"""Looking into a response on its way to the client, for its figures, without holding it.

A piece of a response is looked at once, when it passes, and for a handful of words only; what contains none
of them costs no more than that. Of a stream nothing is kept but the line that has begun. Of a JSON answer the
pieces are kept up to 1 MiB, of a longer one its head and its tail, for that is where figures stand.
"""

from __future__ import annotations

import re
import time
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from swapd.observe.usage import Tokens, Usage

if TYPE_CHECKING:
    from swapd.observe.inflight import InFlightRequest

WHOLE_JSON: Final = 1024 * 1024
END_OF_JSON: Final = 64 * 1024
LONGEST_EVENT: Final = 4 * 1024 * 1024
ERROR_TEXT: Final = 500
_OK: Final = 200
_UNPACKED: Final = 8 * 1024 * 1024

_FINISH = re.compile(rb'"(?:finish_reason|stop_reason)"\s*:\s*"([\w-]{1,40})"')
_FIGURES = re.compile(rb'"(usage|timings|metrics)"\s*:\s*(?=\{)')


class Outcome(Struct):
    """What was learned from a response."""

    tokens: Tokens
    error: str = ""
    finish_reason: str = ""
    model_ms: float = 0.0
    readable: bool = True
    """Whether the body could be decoded at all."""


class BodyTap:
    """Looks into the body of one response; `feed` it each piece, then ask for the `outcome`.

    With `keep` > 0 the body's pieces are kept too, up to that many bytes: `kept`, and `truncated` if it had
    more. They are the pieces that were sent, not copies.
    """

    __slots__ = (
        "_before",
        "_body",
        "_is_stream",
        "_last",
        "_limit",
        "_partial",
        "_request",
        "_tail",
        "_unpack",
        "_usage",
        "content_type",
        "encoding",
        "kept",
        "size",
        "truncated",
    )

    def __init__(self, request: InFlightRequest, content_type: str, encoding: str, keep: int) -> None:
        """`content_type` as in the response's headers, `encoding` in lower case."""
        self._request = request
        self._is_stream = "text/event-stream" in content_type.lower()
        self.content_type = content_type
        self._limit = keep if self._is_stream else max(WHOLE_JSON, keep)
        self._unpack: Any = zlib.decompressobj(47) if self._is_stream and _packed(encoding) else None
        self._partial = self._last = self._before = self._tail = b""
        self._body: bytes | None = None
        self.encoding = encoding
        self.kept: list[bytes] = []
        self.truncated = False
        self.size = 0
        self._usage: Usage | None = None

    def feed(self, piece: bytes) -> None:
        """Look at the next piece of the body."""
        if not self.size:
            self._request.first_byte = time.perf_counter()
        size = self.size = self.size + len(piece)
        if size <= self._limit:
            self.kept.append(piece)
        elif self._limit:
            self._keep_ends(piece)
        if self._is_stream:
            self._look_into(piece if self._unpack is None else self._unpacked(piece))

    def body(self) -> bytes | None:
        """The kept part of the body with its content encoding undone; None if that failed.

        To be asked when the body has ended.
        """
        if self._body is None:
            kept = self.kept
            whole = kept[0] if len(kept) == 1 else b"".join(kept)
            self._body = unpacked(whole, self.encoding) if self.encoding else whole
        return self._body

    def outcome(self, status: int, path: str) -> Outcome:
        """What the response told; `status` is its status, `path` the one the upstream saw."""
        if status != _OK:
            return Outcome(Tokens(), _error_of(self._error_body(), status))
        if not self.size:
            return Outcome(Tokens())
        if self._is_stream:
            return self._outcome_of_stream()
        body = self.body()
        if body is None:
            return Outcome(Tokens(), "response decompression failed: damaged data", readable=False)
        if self.truncated:
            self._read_ends(body)
        elif _may_have_figures(body):
            self._figures().take_answer(body, last_element=path.startswith("/infill"))
        return self._outcome(_finish_reason_of(body))

    def _outcome_of_stream(self) -> Outcome:
        if self._partial:
            self._read(self._partial)
        return self._outcome(_finish_reason(self._last) or _finish_reason(self._before))

    def _outcome(self, finish_reason: str) -> Outcome:
        usage = self._usage
        if usage is None:
            return Outcome(Tokens(), finish_reason=finish_reason)
        return Outcome(usage.tokens(), finish_reason=finish_reason, model_ms=usage.model_ms())

    def _figures(self) -> Usage:
        """Where figures go that have been found. Many answers have none."""
        if self._usage is None:
            self._usage = Usage()
        return self._usage

    def _error_body(self) -> bytes:
        if self._is_stream:
            return self._last + self._partial
        return self.body() or b""

    def _keep_ends(self, piece: bytes) -> None:
        """Of a body that is longer than what is kept, keep the head and the tail."""
        if self.truncated:
            self._tail = (self._tail + piece)[-END_OF_JSON:]
        else:
            room = self._limit - (self.size - len(piece))
            self.kept.append(piece[:room])
            self._tail = piece[room:][-END_OF_JSON:]
            self.truncated = True

    def _look_into(self, piece: bytes) -> None:
        """Read those whole lines that may carry figures."""
        data = self._partial + piece if self._partial else piece
        end = data.rfind(b"\n") + 1
        if end == len(data):
            self._partial = b""
        else:
            self._partial = data[end:] if len(data) - end < LONGEST_EVENT else b""
        if not end:
            return None
        self._before, self._last = self._last, data
        if data.find(b'"usage"') >= 0 and data.count(b'"usage"') != data.count(b'"usage":null'):
            return self._read(data[:end])
        if data.find(b'"timings"') >= 0 or data.find(b'"metrics"') >= 0:
            return self._read(data[:end])
        return None

    def _read(self, lines: bytes) -> None:
        for line in lines.split(b"\n"):
            if line.startswith(b"data:") and _may_have_figures(line):
                self._figures().take_event(line[5:].strip())

    def _unpacked(self, piece: bytes) -> bytes:
        try:
            return bytes(self._unpack.decompress(piece, _UNPACKED))
        except zlib.error:
            return b""

    def _read_ends(self, head: bytes) -> None:
        """Find the figures of a JSON answer too long to be kept: objects at its beginning or end."""
        for part in (head[:END_OF_JSON], self._tail):
            for match in _FIGURES.finditer(part):
                if (figures := _object_at(part, match.end())) is not None:
                    self._figures().take_answer(b'{"%b":%b}' % (match[1], figures), last_element=False)


def _may_have_figures(text: bytes) -> bool:
    # `find`, for `in` first tries to take what is looked for as a number, and fails at five times the cost.
    return text.find(b'"usage"') >= 0 or text.find(b'"timings"') >= 0 or text.find(b'"metrics"') >= 0


def unpacked(body: bytes, encoding: str) -> bytes | None:
    """`body` with gzip or deflate undone, at most 8 MiB of it; None if it is damaged. Others stay."""
    if not _packed(encoding):
        return body
    for window in (47, -15):  # gzip or zlib by its header; the raw form that some servers send
        try:
            return zlib.decompressobj(window).decompress(body, _UNPACKED)
        except zlib.error:
            continue
    return None


def _packed(encoding: str) -> bool:
    return "gzip" in encoding or "deflate" in encoding


def _object_at(text: bytes, start: int) -> bytes | None:
    """The JSON object that begins at `start`, if all of it is there."""
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[{}]', text[start:]):
        if match[0] == b"{":
            depth += 1
        elif match[0] == b"}":
            depth -= 1
            if not depth:
                return text[start : start + match.end()]
    return None


def _finish_reason_of(body: bytes) -> str:
    if len(body) <= END_OF_JSON:
        return _finish_reason(body)
    return _finish_reason(body[-END_OF_JSON:]) or _finish_reason(body[:END_OF_JSON])


def _finish_reason(text: bytes) -> str:
    if text.find(b'_reason"') < 0:
        return ""
    found = _FINISH.findall(text)
    return found[-1].decode() if found else ""


def _error_of(body: bytes, status: int) -> str:
    """What went wrong: the message in a JSON body, else the status in words."""
    try:
        value = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if isinstance(value, dict):
        error = value.get("error")
        inner = error.get("message") if isinstance(error, dict) else None
        for text in (inner, error, value.get("message"), value.get("detail")):
            if isinstance(text, str) and text.strip():
                return cut(text.strip())
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def cut(text: str) -> str:
    """At most 500 bytes of `text`, and three dots if there was more."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= ERROR_TEXT else raw[:ERROR_TEXT].decode("utf-8", "ignore") + "..."
