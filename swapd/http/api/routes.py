"""The route table of the control API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from starlette import types as starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.routing import Route, Router

from swapd.http.answers import not_found
from swapd.http.api import (
    activity,
    captures,
    configuration,
    events,
    health,
    inflight,
    logs,
    metrics,
    model_list,
    models,
    openapi,
    performance,
    profiles,
    ready,
    running,
    session,
    status,
    unload,
    version,
    web,
)
from swapd.http.api.control import Control
from swapd.http.api.resource import ANY, Handler, Resource
from swapd.http.auth import Authentication
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send


class SomePath(PathConvertor):
    """Slashes and all, but not nothing."""

    regex = ".+"


register_url_convertor("some_path", SomePath())

ROUTES: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/v1/models": {"GET": model_list.list_models},
    "/v1/models/{id:some_path}": {"GET": model_list.one_model},
    "/models": {"GET": model_list.list_models},
    "/running": {"GET": running.running},
    "/unload": {"GET": unload.unload_all_as_text},
    "/api/models": {"GET": models.list_entries},
    "/api/models/unload": {"POST": unload.unload_all},
    "/api/models/unload/{model:path}": {"POST": unload.unload_one},
    "/api/models/load/{model:path}": {"POST": models.load},
    "/api/models/restart/{model:path}": {"POST": models.restart},
    "/api/models/keep/{model:path}": {"PUT": models.keep, "DELETE": models.keep_no_longer},
    "/api/models/{model:path}": {"GET": models.detail},
    "/api/profiles": {"GET": profiles.list_profiles},
    "/api/profiles/active": {"PUT": profiles.activate},
    "/api/status": {"GET": status.status},
    "/api/config/status": {"GET": configuration.status},
    "/api/config/reload": {"POST": configuration.reload},
    "/api/config/effective": {"GET": configuration.effective},
    "/api/captures/{id}": {"GET": captures.capture},
    "/api/captures/{id}/{part}": {"GET": captures.part},
    "/api/performance": {"GET": performance.performance},
    "/api/hardware": {"GET": performance.hardware},
    "/metrics": {"GET": metrics.metrics},
    "/api/metrics": {"GET": activity.all_rows},
    "/api/metrics/activity": {"GET": activity.page},
    "/api/metrics/stats": {"GET": activity.stats},
    "/api/events": {"GET": events.events},
    "/api/inflight/{id}/cancel": {"POST": inflight.cancel},
    "/api/version": {"GET": version.version},
    "/health": {"GET": health.health},
    "/wol-health": {"GET": health.health},
    "/ready": {"GET": ready.ready},
    "/logs": {"GET": logs.logs},
    "/logs/stream": {"GET": logs.stream},
    "/logs/stream/{source:path}": {"GET": logs.stream},
    "/": {"GET": web.root},
    "/favicon.ico": {"GET": web.favicon},
    "/ui": {"GET": web.ui_without_slash},
    "/ui/{path:path}": {"GET": web.ui},
    "/upstream": {"GET": web.upstream_overview, ANY: web.upstream_without_slash},
}
"""Path → method → handler. A slash at the end is part of the path; GET stands for HEAD too."""

NO_KEY_NEEDED: Final = frozenset(
    {
        "/",
        "/health",
        "/wol-health",
        "/ready",
        "/favicon.ico",
        "/ui",
        "/ui/{path:path}",
        "/upstream",
        "/api/session",
    }
)
"""Paths that anybody may ask for, whatever keys are configured: they tell nothing and change nothing.

`/api/session` tells callers what they are themselves.
"""


ADMIN_ONLY: Final = frozenset(
    {
        "/unload",
        "/api/models/unload",
        "/api/profiles/active",
        "/api/captures/{id}",
        "/api/captures/{id}/{part}",
        "/api/config/status",
        "/api/config/reload",
        "/api/config/effective",
        "/api/performance",
        "/api/hardware",
        "/logs",
        "/logs/stream",
        "/logs/stream/{source:path}",
    }
)
"""Paths for keys that may manage the daemon: they show what others do, or change it."""


def build_api(control: Control, auth: Authentication) -> ASGIApp:
    """The control API as one ASGI application, for scopes of type `http`; `auth` decides who may use it.

    It expects what `swapd.http.app` gives it: `path` in the spelling of `routing_path`, a `RequestRecord` in
    the scope, and no OPTIONS requests.
    """

    def metrics_are_public() -> bool:
        return control.config().metrics.public

    def never() -> bool:
        return False

    table: dict[str, Mapping[str, Handler]] = {**ROUTES, "/api/session": session.handlers(auth)}
    table["/openapi.json"] = {
        "GET": openapi.handler(lambda: openapi.document(table, NO_KEY_NEEDED, ADMIN_ONLY))
    }
    routes = [
        Route(
            path,
            Resource(
                control,
                handlers,
                None if path in NO_KEY_NEEDED else auth,
                admin=path in ADMIN_ONLY,
                is_public=metrics_are_public if path == "/metrics" else never,
            ),
        )
        for path, handlers in table.items()
    ]
    router = Router(routes, redirect_slashes=False, default=_no_route)

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await router(scope, receive, send)

    return api


async def _no_route(scope: starlette.Scope, receive: starlette.Receive, send: starlette.Send) -> None:
    await not_found(scope, cast(Send, send))
