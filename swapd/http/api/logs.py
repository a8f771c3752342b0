"""`/logs` and `/logs/stream`: the logs as plain text, at once or as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import STRING, TEXT, described
from swapd.http.api.endless import EndlessAnswer
from swapd.http.api.models import require_allowed
from swapd.http.api.web import Redirect
from swapd.http.errors import Rejected
from swapd.http.paths import parameter
from swapd.http.server.asgi import ASGIApp, Headers, Scope
from swapd.observe.ring import LogRing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from swapd.config import Config

_SHARED: Final = frozenset({"", "proxy", "upstream"})
"""Names of logs that are no model's; "" is the combined one."""


@described("The log so far", TEXT, more={302: {}})
async def logs(control: Control, request: Request) -> Response | ASGIApp:
    """The history of the combined log; a browser is sent to the user interface, which shows it better."""
    if control.with_ui and "text/html" in request.headers.get("accept", ""):
        return Redirect(302, "/ui/")
    history = control.logs.rings["mux"].history()
    return Response(history, headers={"content-type": "text/plain"})


@described("A log as it is written", TEXT, errors=(400,), query={"no-history": STRING})
async def stream(control: Control, request: Request) -> ASGIApp:
    """One log from its history on, until the client leaves or the daemon stops."""
    ring = _ring(control, request)
    return LogStream(ring, with_history="no-history" not in request.query_params)


def _ring(control: Control, request: Request) -> LogRing:
    """The log that is asked for. Raises `Rejected` if there is none, or if the key is not for its model."""
    source = parameter(request.path_params.get("source", ""))
    if source in _SHARED:
        return control.logs.rings[source or "mux"]
    model = _model(control.config(), source)
    if model is None:
        raise Rejected.with_code("bad_request", "invalid logger. Use 'proxy', 'upstream' or a model's ID")
    require_allowed(control, request, model)
    return control.logs.upstream(model)


def _model(config: Config, source: str) -> str | None:
    """The id of the model whose log is meant; its name may be followed by a slash and more."""
    segments = [segment for segment in source.split("/") if segment]
    for length in range(len(segments), 0, -1):
        model = config.resolve("/".join(segments[:length]))
        if model is not None:
            return model
    return None


class LogStream(EndlessAnswer):
    """The bytes of `ring` as they are written. A client that reads slowly misses bytes and finds a note in
    their place."""

    def __init__(self, ring: LogRing, *, with_history: bool) -> None:
        self._ring = ring
        self._with_history = with_history

    def headers(self, scope: Scope) -> Headers:
        return _STREAM_HEADERS

    def subscribe(self, on_end: Callable[[], None]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._ring.subscribe(history=self._with_history, on_end=on_end)


_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/plain"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),  # nginx would otherwise collect the lines
]
