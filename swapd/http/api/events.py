"""`/api/events`: what happens, as server-sent events, from a description of how things are now onwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from starlette.requests import Request

from swapd.http.api.activity import newest_rows, shown
from swapd.http.api.configuration import status_as_json
from swapd.http.api.control import Control
from swapd.http.api.describe import STRING, described, one_of
from swapd.http.api.endless import EndlessAnswer
from swapd.http.api.model_entries import model_entries, visible_entries
from swapd.http.auth import Caller, caller_of
from swapd.http.server.asgi import ASGIApp, Headers, Scope
from swapd.observe.activity import ActivityRow
from swapd.observe.events import USUAL_TYPES, message

ADMIN_TYPES: Final = frozenset({"logData", "perfsys", "perfgpu", "configStatus"})
"""What keys that may not manage the daemon do not get."""


@described(
    "What happens, as it happens: server-sent events",
    {"text/event-stream": STRING},
    query={"types": STRING, "metrics": one_of("1")},
    errors=(500,),
)
async def events(control: Control, request: Request) -> ASGIApp:
    """Events of the types in `?types=a,b`, or of the usual ones, until the client leaves or the daemon stops.

    With `?metrics=1` the rows that the activity log holds are sent at the start.
    """
    named = request.query_params.get("types")
    types = USUAL_TYPES if named is None else frozenset(name.strip() for name in named.split(","))
    caller = caller_of(request.scope)
    if not caller.is_admin:
        types -= ADMIN_TYPES
    rows: list[ActivityRow] = []
    if request.query_params.get("metrics") == "1" and "metrics" in types:
        rows = await newest_rows(control)
    return _EventAnswer(control, types, caller, rows)


class _EventAnswer(EndlessAnswer):
    """Events, for one client; see `EventHub`."""

    def __init__(
        self, control: Control, types: frozenset[str], caller: Caller, rows: list[ActivityRow]
    ) -> None:
        self._control = control
        self._types = types
        self._caller = caller
        self._rows = rows

    def headers(self, scope: Scope) -> Headers:
        return _HEADERS if scope["http_version"] == "1.1" else _HEADERS[:-1]

    def subscribe(self, on_end: Callable[[], None]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        logs = {source: self._control.logs.rings[source] for source in self._sources()}
        own = {"modelStatus": self._models} if self._caller.is_limited else {}
        events = self._control.telemetry.events
        return events.subscribe(self._types, self._beginning, logs, on_end, own)

    def _sources(self) -> tuple[str, ...]:
        return ("proxy", "upstream") if "logData" in self._types else ()

    def _beginning(self, first: bool) -> bytes:
        """How things are now: the messages that every stream begins with, of the types that are wanted."""
        control = self._control
        parts: list[tuple[str, Any]] = []
        if first:
            for source in self._sources():
                text = control.logs.rings[source].history().decode("utf-8", "replace")
                parts.append(("logData", {"source": source, "data": text}))
        for kind, state in _STATES.items():
            if kind in self._types:
                parts.append((kind, self._models() if kind == "modelStatus" else state(control)))
        if first and self._rows:
            parts.append(("metrics", [shown(control, row) for row in self._rows]))
        return b"".join(message(kind, value) for kind, value in parts)

    def _models(self) -> list[dict[str, Any]]:
        return visible_entries(self._control, self._caller)


def ui_config(control: Control) -> dict[str, Any]:
    """What the web interface wants to know of the configuration."""
    return {"activity": {"session_id": list(control.config().ui.activity.session_headers)}}


_STATES: Final[Mapping[str, Callable[[Control], Any]]] = {
    "modelStatus": model_entries,
    "uiConfig": ui_config,
    "profileChanged": lambda control: {"active": control.profiles.active},
    "inflight": lambda control: control.telemetry.events.in_flight_snapshot(),
    "configStatus": lambda control: status_as_json(control.config_status()),
}
"""How things are now, by type of message, in the order in which a stream begins."""

_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),  # nginx would otherwise collect the messages
    (b"connection", b"keep-alive"),  # HTTP/1.1 only, and last: see above
]
