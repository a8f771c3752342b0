"""The daemon's ASGI application: which part of swapd answers a request.

The order is that of cost. The routes that name a model are found by one look into a table and handed on at
once; `/upstream/…` comes next; everything else, among it whatever is odd about a path, goes to the control
API. Nothing here wraps `send` or creates a task: a request pays for its record and for one log line.

Routing looks at method and path alone, before any key is asked for, so that "no such route" and "not with
this method" have the same answer for everybody.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import trio

from swapd.http import answers
from swapd.http.access_log import AccessLog
from swapd.http.auth import Authentication, refuse
from swapd.http.errors import Rejected, render
from swapd.http.paths import clean_path, location, raw_path, routing_path
from swapd.http.prefix import PREFIX, forwarded_prefix
from swapd.http.record import RECORD, RequestRecord
from swapd.http.server.asgi import ABORT, ASGIApp, BodyTooLarge, ClientGone, Receive, Scope, Send
from swapd.http.site_guard import SiteGuard
from swapd.observe.logger import Logger

_PASSTHROUGH = (b"/upstream/", b"/comfyui/")
_COMFYUI = b"/comfyui"

CLIENT_CLOSED_REQUEST = 499
"""What the access log says of a request whose client left before it was answered."""


class OllamaRoutes(Protocol):
    """An ASGI application that knows which paths are its own."""

    def methods(self, path: str) -> frozenset[str] | None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class App:
    """An ASGI 3 application for the scope types `http` and `websocket`.

    Each request's scope gets a `RequestRecord` under `RECORD`; the part that answers fills it in.
    """

    def __init__(
        self,
        *,
        models: ASGIApp,
        model_routes: Mapping[str, Iterable[str]],
        passthrough: ASGIApp,
        api: ASGIApp,
        auth: Authentication,
        access_log: AccessLog,
        log: Logger,
        guard: SiteGuard | None = None,
        ollama: OllamaRoutes | None = None,
        on_rejected: Callable[[RequestRecord], None] = lambda record: None,
    ) -> None:
        """`models` answers the paths of `model_routes` (path → methods; HEAD goes with GET), `passthrough`
        what is below `/upstream/` and `/comfyui`, both after `auth`; `api` the rest, of which it knows what
        needs a key. `guard` looks at what pages of other sites send to the last two. `ollama` answers the
        paths it knows, after `auth`. `on_rejected` is told of requests that ended with an error of ours."""
        self._models = models
        self._model_routes = {
            path.encode("ascii"): frozenset(methods) | ({"HEAD"} if "GET" in methods else set())
            for path, methods in model_routes.items()
        }
        self._passthrough = passthrough
        self._api = api
        self._auth = auth
        self._access_log = access_log
        self._log = log
        self._guard = guard
        self._ollama = ollama
        self._on_rejected = on_rejected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        record = scope[RECORD] = RequestRecord()
        try:
            if scope["type"] == "http":
                methods = self._model_routes.get(scope.get("raw_path", b""))
                if methods is None or scope["method"] not in methods:
                    await self._answer_other(scope, receive, send)
                elif self._auth.admits(scope):
                    await self._models(scope, receive, send)
                else:
                    await refuse(scope, send)
            else:
                await self._answer_websocket(scope, receive, send)
        except trio.Cancelled:
            record.status = record.status or CLIENT_CLOSED_REQUEST
            raise
        except ClientGone:
            pass  # it left while its answer was being sent, and there is nobody left to tell
        except Exception as error:  # noqa: BLE001 - the last one who can tell the client and the log
            await self._answer_failure(error, scope, send)
        finally:
            if record.request is not None:
                record.request.end()
            if record.error_code:
                self._on_rejected(record)
            self._access_log.write(scope, record, time.perf_counter() - started)
            record.request = (
                None  # refers back to the record: let go of both now, not when garbage is collected
            )

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            return await answers.preflight(scope, send)
        if PREFIX not in scope and (prefix := forwarded_prefix(scope, self._access_log.proxies)):
            scope = {**scope, PREFIX: prefix}
        raw = raw_path(scope)
        cleaned = clean_path(raw)
        if cleaned is not raw:
            return await answers.redirect(scope, send, 307, location(cleaned, scope["query_string"]))
        if raw.startswith(_PASSTHROUGH) or raw == _COMFYUI:
            return await self._guarded(self._passthrough_admitted, scope, receive, send)
        path = routing_path(raw)
        methods = self._model_routes.get(path.encode("ascii"))
        if methods is None:
            if self._ollama is not None and self._ollama.methods(path) is not None:
                return await self._answer_ollama(self._ollama, {**scope, "path": path}, receive, send)
            return await self._guarded(self._api, {**scope, "path": path}, receive, send)
        if method not in methods:
            return await answers.method_not_allowed(scope, send, methods)
        # The path is written with escapes it does not need.
        scope = {**scope, "path": path, "raw_path": path.encode("ascii")}
        return await self._admitted(self._models, scope, receive, send)

    async def _answer_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = raw_path(scope)
        if raw.startswith(_PASSTHROUGH):
            await self._guarded(self._passthrough_admitted, scope, receive, send)
        elif "GET" in self._model_routes.get(raw, ()):
            await self._admitted(self._models, scope, receive, send)
        else:
            await answers.not_found(scope, send)

    async def _answer_ollama(self, app: OllamaRoutes, scope: Scope, receive: Receive, send: Send) -> None:
        methods = app.methods(scope["path"]) or frozenset()
        if scope["method"] in methods:
            await self._admitted(app, scope, receive, send)
        else:
            await answers.method_not_allowed(scope, send, methods)

    async def _passthrough_admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admitted(self._passthrough, scope, receive, send)

    async def _guarded(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have `app` answer unless a page of another site is behind the request."""
        if self._guard is not None:
            try:
                self._guard.check(scope)
            except Rejected as rejected:
                return await answers.send_whole(scope, send, *render(rejected.answer, scope))
        return await app(scope, receive, send)

    async def _admitted(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Have `app` answer if the request shows a valid key."""
        if self._auth.admits(scope):
            await app(scope, receive, send)
        else:
            await refuse(scope, send)

    async def _answer_failure(self, error: Exception, scope: Scope, send: Send) -> None:
        """Answer for a part that failed: with an error while that is possible, else by breaking off."""
        too_large = isinstance(error, BodyTooLarge)
        if not too_large:
            self._log.error(_report(error, scope), event="request.failed", error=repr(error))
        if scope["type"] == "http" and not scope[RECORD].status:
            code, message = (
                ("request_too_large", "the request body is too large")
                if too_large
                else ("internal_error", "internal error; see the daemon's log")
            )
            await answers.answer_error(scope, send, code, message)
        elif abort := scope.get("extensions", {}).get(ABORT):
            abort()


def _report(error: Exception, scope: Scope) -> str:
    what = f"{scope['method']} {scope['path']}" if scope["type"] == "http" else f"WebSocket {scope['path']}"
    return f"{what} failed: {''.join(traceback.format_exception(error))}"
