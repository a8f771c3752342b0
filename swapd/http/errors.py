"""What a client is told when swapd itself has to answer with an error.

One table, `CASES`, says which status each error code has, whether a client should try again and when.
Everything else follows from the answer: its type from the status, its shape from the request (`Accept`, and
whether the route is one that Anthropic's SDKs read). Errors that an upstream has produced are relayed as they
are and never come here.
"""

from __future__ import annotations

import html
import itertools
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from swapd.http.server.asgi import Headers, Scope
from swapd.nursery.events import Refusal


class Case(Struct, frozen=True):
    """How one error code is answered."""

    status: int
    retry_after_s: int | None = None
    """What `Retry-After` says where the cause gives no better figure; None: the header is not sent."""
    always_json: bool = False
    """Whatever the client says it accepts."""
    close: bool = False
    """The connection ends with this answer."""


CASES: Mapping[str, Case] = {
    # the request
    "bad_request": Case(400),
    "unauthorized": Case(401),
    "forbidden": Case(403),
    "model_not_allowed": Case(403),
    "admin_required": Case(403),
    "cross_site": Case(403),
    "host_not_allowed": Case(403),
    "not_found": Case(404),
    "model_not_loaded": Case(409),
    "request_too_large": Case(413),
    "request_cancelled": Case(499),
    # no place for it now
    "concurrency_limit": Case(429, retry_after_s=1, always_json=True),
    "start_aborted": Case(503, retry_after_s=1),
    "model_unloaded": Case(503, retry_after_s=1),
    "process_not_ready": Case(503, retry_after_s=1),
    "crash_looping": Case(503, retry_after_s=1),
    "queue_timeout": Case(503, retry_after_s=1),
    "stop_stuck": Case(503, retry_after_s=30),
    "shutting_down": Case(503, retry_after_s=5, close=True),
    "no_target": Case(503, retry_after_s=1),
    "insufficient_memory": Case(503),
    # the upstream
    "upstream_start_failed": Case(502),
    "upstream_unreachable": Case(502),
    "start_timeout": Case(504),
    "upstream_timeout": Case(504),
    "peer_error": Case(502),
    "peer_timeout": Case(504),
    # swapd
    "hardware_unavailable": Case(503),
    "internal_error": Case(500),
}
"""Error code → answer. A code that is not in here cannot be sent."""

_TYPES = {401: "authentication_error", 403: "authentication_error", 429: "rate_limit_error"}

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}

_ANTHROPIC_PATHS = frozenset(
    {"/v1/messages", "/v1/messages/count_tokens", "/v/messages", "/v/messages/count_tokens"}
)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_PROCESS_ID = os.urandom(7).hex()
"""Sets our ids apart from those of any other process; within this one they are counted."""
_numbers = itertools.count(1)


class ErrorAnswer(Struct, frozen=True):
    """An error on its way to a client. `message` is for people, the rest for programs."""

    code: str
    message: str
    retry_after_s: int | None = None
    """Overrides the table's figure, where the table has one. Whole seconds, at least 1."""

    @property
    def case(self) -> Case:
        return CASES[self.code]

    @property
    def status(self) -> int:
        return self.case.status


class Rejected(Exception):
    """Raised by any step of handling a request that ends it with an error."""

    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.message)
        self.answer = answer

    @classmethod
    def with_code(cls, code: str, message: str) -> Rejected:
        return cls(ErrorAnswer(code, message))


def from_refusal(refusal: Refusal) -> ErrorAnswer:
    """What a request is told that did not get its model."""
    return ErrorAnswer(refusal.code.value, refusal.message, refusal.retry_after_s)


def render(answer: ErrorAnswer, scope: Scope) -> tuple[int, Headers, bytes]:
    """Status, headers and body of `answer` for the request in `scope`."""
    case = answer.case
    content_type, body = _body(answer, scope)
    headers: Headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    if case.retry_after_s is not None:
        seconds = max(1, answer.retry_after_s or case.retry_after_s)
        headers.append((b"retry-after", b"%d" % seconds))
    if case.close and scope.get("http_version", "1.1").startswith("1"):
        # HTTP/2 has no such header; there the server says goodbye in a frame of its own.
        headers.append((b"connection", b"close"))
    return case.status, headers, body


def _body(answer: ErrorAnswer, scope: Scope) -> tuple[bytes, bytes]:
    message = answer.message
    accept = header(scope, b"accept")
    if not answer.case.always_json:
        if b"text/plain" in accept:
            return b"text/plain", _utf8(f"swapd: {message}")
        if b"text/html" in accept:
            page = f"<html><body><h1>swapd</h1><p>{html.escape(message)}</p></body></html>"
            return b"text/html", _utf8(page)
    return b"application/json", _envelope(answer, scope)


def envelope_error(answer: ErrorAnswer) -> dict[str, Any]:
    """What stands under `error` in a JSON answer: OpenAI's four fields."""
    return {
        "message": _utf8(answer.message).decode(),
        "type": _TYPES.get(answer.status) or _type_of(answer.status),
        "param": None,
        "code": answer.code,
    }


def _envelope(answer: ErrorAnswer, scope: Scope) -> bytes:
    error = envelope_error(answer)
    if scope["path"] not in _ANTHROPIC_PATHS:
        return msgspec.json.encode({"src": "swapd", "error": error})
    error["type"] = _ANTHROPIC_TYPES.get(answer.status) or _anthropic_type_of(answer.status)
    return msgspec.json.encode(
        {"src": "swapd", "type": "error", "error": error, "request_id": request_id(scope)}
    )


def _type_of(status: int) -> str:
    return "invalid_request_error" if status < 500 else "server_error"


def _anthropic_type_of(status: int) -> str:
    return "invalid_request_error" if status < 500 else "api_error"


def _utf8(text: str) -> bytes:
    # Names from the command line or the file system may hold half a character.
    return text.encode("utf-8", "replace")


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of this (lower-case) name; empty if there is none."""
    for candidate, value in scope["headers"]:
        if candidate == name:
            found: bytes = value
            return found
    return b""


REQUEST_ID: Final = "swapd.request_id"
"""The key under which a request's scope holds its id, once somebody has asked for it."""


def request_id(scope: Scope) -> str:
    """The client's `X-Request-Id` if it is harmless, else a new one: "req_" and 26 characters."""
    known: str | None = scope.get(REQUEST_ID)
    return chosen_id(scope, header(scope, b"x-request-id")) if known is None else known


def chosen_id(scope: Scope, given: bytes) -> str:
    """`request_id` for who has found what was `given` in the headers already; empty is nothing."""
    known: str | None = scope.get(REQUEST_ID)
    if known is not None:
        return known
    if given and _REQUEST_ID.fullmatch(given):
        new = given.decode("ascii")
    else:
        new = f"req_{_PROCESS_ID}{next(_numbers):012x}"
    scope[REQUEST_ID] = new
    return new
