"""The answer of an inner request, translated while it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swapd.http.proxy.ollama.replies import EventLines, Json, Reply
from swapd.http.record import RECORD, RequestRecord
from swapd.http.server.asgi import Headers, Scope, Send

MAX_WHOLE_BODY = 64 * 1024 * 1024
_KEPT = frozenset({b"retry-after", b"x-request-id", b"x-upstream-request-id", b"connection"})


def waited_ns(record: RequestRecord) -> int:
    """How long a request has waited for its model."""
    request = record.request
    if request is None or not request.granted:
        return 0
    return max(0, int((request.granted - request.started) * 1e9))


class Translated:
    """An ASGI `send` that takes an OpenAI answer and sends on an Ollama one.

    An error becomes `{"error": text}` with its status. An answer that breaks off breaks off.
    """

    def __init__(self, scope: Scope, send: Send, name: str, whole: Callable[[Json], Json]) -> None:
        """`name` is the model's, as asked for; `whole` translates the object of a complete answer."""
        self._record: RequestRecord = scope[RECORD]
        self._send = send
        self._name = name
        self._whole = whole
        self._status = 0
        self._headers: Headers = []
        self._collected = bytearray()
        self._sent = 0

    async def __call__(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [pair for pair in message["headers"] if pair[0] in _KEPT]
            await self._begun(message["headers"])
        elif message["type"] == "http.response.body":
            await self._took(message.get("body", b""), more=message.get("more_body", False))

    async def _begun(self, headers: Headers) -> None:
        """The head of the answer is there."""

    async def _took(self, piece: bytes, *, more: bool) -> None:
        self._collected += piece
        del self._collected[MAX_WHOLE_BODY:]
        if not more:
            await self._answer_whole()

    async def _answer_whole(self) -> None:
        try:
            given = msgspec.json.decode(bytes(self._collected))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            given = None
        status = self._status
        if status >= 400:
            body: Json = {"error": self._error_text(given)}
        elif not isinstance(given, dict):
            status, body = 502, {"error": "the model's server has not answered with JSON"}
        else:
            body = self._whole(given)
        await self._send_head(status, b"application/json")
        await self._send_body(msgspec.json.encode(body), more=False)

    def _error_text(self, given: Any) -> str:
        error = given.get("error") if isinstance(given, dict) else None
        if isinstance(error, str):
            return error
        if not isinstance(error, dict):
            return bytes(self._collected[:2048]).decode("utf-8", "replace") or f"status {self._status}"
        if given.get("src") == "swapd" and error.get("code") == "not_found":
            return f"model '{self._name}' not found"
        return str(error.get("message", error))

    async def _send_head(self, status: int, content_type: bytes) -> None:
        self._record.status = status
        headers = [(b"content-type", content_type), *self._headers]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        self._sent += len(body)
        self._record.bytes_sent = self._sent
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class TranslatedStream(Translated):
    """The same for a stream: server-sent events become one object a line, each sent as it comes.

    The upstream may all the same answer at once; then there is one line.
    """

    def __init__(self, scope: Scope, send: Send, name: str, reply: Reply) -> None:
        super().__init__(scope, send, name, reply.whole)
        self._reply = reply
        self._events: EventLines | None = None

    async def _begun(self, headers: Headers) -> None:
        content_type = next((value for name, value in headers if name == b"content-type"), b"").lower()
        if self._status == 200 and b"text/event-stream" in content_type:
            self._events = EventLines()
            self._reply.load_ns = waited_ns(self._record)
            await self._send_head(200, b"application/x-ndjson")
            await self._send_body(b"", more=True)

    async def _took(self, piece: bytes, *, more: bool) -> None:
        if self._events is None:
            await super()._took(piece, more=more)
            return
        lines: list[Json] = []
        for event in self._events.feed(piece):
            if "error" in event and not event.get("choices"):
                lines.append({"error": self._error_text(event)})
            lines += self._reply.pieces(event)
        if not more:
            lines += self._reply.last()
        if lines or not more:
            await self._send_body(b"".join(msgspec.json.encode(line) + b"\n" for line in lines), more=more)
