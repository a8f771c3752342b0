"""The requests for models that are being answered right now.

Each is entered when its model is known and leaves when its answer has ended, however it ended. Whoever shows
them is told of three moments, in order: the start, the head of the response, the end. How many bytes have
been sent is looked up when somebody wants to know, so that relaying a chunk costs nothing here.

Everything belongs to the thread of the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from swapd.observe.timestamps import utc_timestamp

Headers = Iterable[tuple[bytes, bytes]]
BodyTap = Callable[[bytes], None]

SECRET_HEADERS: Final = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key"}
)
REDACTED: Final = "[REDACTED]"


class Progress(Protocol):
    """What has been sent so far: status (0 before the head) and bytes of the body."""

    status: int
    bytes_sent: int
    error_code: str


class Work(Protocol):
    """What can be ended: a scope of trio's, or something that has one."""

    def cancel(self) -> None: ...


class InFlightRequest:
    """One request for a model, from the moment its model is known to the end of its answer.

    The mutable state is what becomes known on the way: `model` once the name is resolved, `granted` once the
    model is ready, the response's headers. Times named `…_ns` are since the epoch, the others seconds of
    `time.perf_counter`.
    """

    __slots__ = (
        "_table",
        "_work",
        "cancelled",
        "client",
        "extra_columns",
        "first_byte",
        "forwarded_path",
        "granted",
        "headers",
        "id",
        "key_name",
        "metadata",
        "method",
        "model",
        "path",
        "progress",
        "query",
        "recorded",
        "request_body",
        "request_headers",
        "requested",
        "response_headers",
        "started",
        "started_ns",
        "streamed",
        "tap",
        "upstream",
    )

    def __init__(
        self,
        table: InFlight,
        id: int,
        model: str,
        method: str,
        path: str,
        forwarded_path: str,
        query: bytes,
        headers: Headers,
        client: str,
        progress: Progress,
        recorded: bool,
    ) -> None:
        """`path` is what lists of running requests show, `forwarded_path` what the upstream sees; `recorded`
        says whether there is to be a row in the activity log."""
        self._table = table
        self.id = id
        self.model = self.requested = model
        self.method = method
        self.path = path
        self.forwarded_path = forwarded_path
        self.query = query
        self.headers = headers
        self.client = client
        self.progress = progress
        self.recorded = recorded
        self.started_ns = time.time_ns()
        self.started = time.perf_counter()
        self.granted = 0.0
        """When the model was ready for it; 0.0 while it waits."""
        self.first_byte = 0.0
        """When the first byte of the answer's body arrived; 0.0 before."""
        self.streamed = False
        """Whether the client asked for a stream."""
        self.upstream = ""
        """The peer that serves it; empty for a model of this machine."""
        self.key_name = ""
        """The name of the key that was shown, never the key."""
        self.metadata: dict[str, str] | None = None
        self.extra_columns: dict[str, Any] | None = None
        """Columns of its row in the activity log that most requests leave empty."""
        self.request_headers: Headers = headers
        """As they went upstream, once they have."""
        self.request_body: bytes | None = None
        """As it went upstream, if it was held in memory."""
        self.response_headers: Headers = ()
        self.tap: Any = None
        """What looks into the response's body, if anything does; see `swapd.observe.tap`."""
        self._work: Work | None = None
        self.cancelled = False
        """Whether somebody has ended it through the API."""

    def note(self, key: str, value: str) -> None:
        """Add to the metadata that the activity log shows."""
        if self.metadata is None:
            self.metadata = {}
        self.metadata[key] = value

    def note_column(self, name: str, value: Any) -> None:
        """Fill in `profile` or `load_ms` of its row in the activity log."""
        if self.extra_columns is None:
            self.extra_columns = {}
        self.extra_columns[name] = value

    def begin_response(self, headers: Headers) -> BodyTap | None:
        """Note the response's headers. Returns what each piece of its body is to be shown to, if anything."""
        self.response_headers = headers
        return self._table._begin_response(self)

    def forget_contents(self) -> None:
        """Let go of headers and bodies, when the request has ended and whoever wants them has them."""
        self.headers = self.request_headers = self.response_headers = ()
        self.query = b""
        self.request_body = None
        self.tap = self._work = None  # they refer back: what does stays until the collector comes by

    def end(self) -> None:
        """Leave the table: the answer has ended, or there never was one. A second call does nothing."""
        self._table._end(self)

    def cancel(self) -> None:
        """End the request as if its client had left, except that the client is told if it still can be."""
        self.cancelled = True
        if self._work is not None:
            self._work.cancel()

    def can_be_cancelled_by(self, work: Work) -> None:
        """From now on, cancelling the request is cancelling `work`."""
        self._work = work
        if self.cancelled:
            work.cancel()

    def entry(self) -> dict[str, Any]:
        """The request as the API shows it: headers by their first value, secrets masked."""
        entry: dict[str, Any] = {
            "id": str(self.id),
            "timestamp": utc_timestamp(self.started_ns),
            "model": self.model,
            "req_path": self.path,
            "method": self.method,
            "req_headers": shown_headers(self.headers),
            "remote_ip": self.client,
            "resp_headers": shown_headers(self.response_headers),
            "resp_bytes": self.progress.bytes_sent,
            "elapsed_ms": int((time.perf_counter() - self.started) * 1000),
        }
        if self.metadata:
            entry["metadata"] = self.metadata
        return entry


class InFlight:
    """All requests that are being answered, by id.

    The mutable state is `requests`, changed by `begin` and by a request's `end`. `listener` hears of each
    when it starts, when its response begins, and when it has ended.
    """

    def __init__(self, listener: InFlightListener | None = None) -> None:
        self._next_id = 1
        self._listener = listener
        self.requests: dict[int, InFlightRequest] = {}

    def begin(
        self,
        model: str,
        *,
        method: str,
        path: str,
        forwarded_path: str,
        query: bytes,
        headers: Headers,
        client: str,
        progress: Progress,
        recorded: bool,
    ) -> InFlightRequest:
        """Enter a request; see `InFlightRequest` for what is known of it. Its `end` takes it out."""
        id = self._next_id
        self._next_id = id + 1
        request = self.requests[id] = InFlightRequest(
            self, id, model, method, path, forwarded_path, query, headers, client, progress, recorded
        )
        if self._listener is not None:
            self._listener.on_start(request)
        return request

    def _begin_response(self, request: InFlightRequest) -> BodyTap | None:
        return None if self._listener is None else self._listener.on_head(request)

    def _end(self, request: InFlightRequest) -> None:
        if self.requests.pop(request.id, None) is not None and self._listener is not None:
            self._listener.on_end(request)
            request.forget_contents()

    def cancel(self, id: int) -> bool:
        """Cancel a request; False if there is none of that id."""
        request = self.requests.get(id)
        if request is None:
            return False
        request.cancel()
        return True

    def entries(self) -> list[dict[str, Any]]:
        """All of them as the API shows them, oldest first."""
        return [self.requests[id].entry() for id in sorted(self.requests)]

    def count_of(self, model: str) -> int:
        """How many are for this model."""
        return sum(request.model == model for request in self.requests.values())


class InFlightListener(Protocol):
    """Who is told of requests in flight. None of these may block or raise."""

    def on_start(self, request: InFlightRequest) -> None: ...

    def on_head(self, request: InFlightRequest) -> BodyTap | None:
        """The response has begun; what is returned is called with each piece of its body."""

    def on_end(self, request: InFlightRequest) -> None: ...


def shown_headers(headers: Headers) -> dict[str, str]:
    """Headers for people: canonical names, of each the first value, secrets masked, `Host` left out."""
    shown: dict[str, str] = {}
    for name, value in headers:
        if name == b"host":
            continue
        title = canonical_name(name)
        if title not in shown:
            shown[title] = REDACTED if name.lower() in SECRET_HEADERS else value.decode("utf-8", "replace")
    return shown


def canonical_name(name: bytes) -> str:
    """`user-agent` → `User-Agent`."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))
