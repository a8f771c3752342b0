"""The hot path: requests for models, from the client's bytes to the instance's and back.

Two plain ASGI callables, `Proxy.models` for the routes that name a model in their body or query, and
`Proxy.passthrough` for `/upstream/{model}/{path…}`. Which requests come here is the application's to decide;
it has dealt with other methods, unclean paths and `OPTIONS`.

A request passes a few steps, each a function: read the body, read whom it asks for, resolve the name, edit
the body, compose what leaves, have it served. A step that ends the request raises `Rejected`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from swapd.config import Config, ModelConfig
from swapd.http.answers import redirect, send_whole
from swapd.http.errors import ErrorAnswer, Rejected, render
from swapd.http.paths import location, raw_path
from swapd.http.proxy.bodies import passing_body, whole_body
from swapd.http.proxy.dispatch import Dispatcher, Outgoing
from swapd.http.proxy.headers import headers_for_upstream
from swapd.http.proxy.instances import Instances
from swapd.http.proxy.json_fields import replace_model
from swapd.http.proxy.passthrough import Addressed, address, decoded
from swapd.http.proxy.requested import Requested, requested_by
from swapd.http.proxy.routes import ROUTES, is_model_route, is_recorded
from swapd.http.record import RECORD, Tracker
from swapd.http.server.asgi import Receive, Scope, Send
from swapd.http.upstream import StreamedBody
from swapd.nursery.manager import Manager
from swapd.observe.inflight import InFlight, InFlightRequest
from swapd.observe.logger import Logger


class Proxy:
    """Serves requests for models.

    `config` returns the configuration in force and is asked once a request. What is kept from one request to
    the next are the connections to the instances; `close` closes those that are idle.
    """

    def __init__(
        self, config: Callable[[], Config], manager: Manager, log: Logger, tracker: Tracker | None = None
    ) -> None:
        """Requests for models are entered with `tracker`; whoever made the scope's record takes them out."""
        self._config = config
        self._tracker = tracker or Tracker(InFlight())
        self._instances = Instances(manager)
        self._dispatcher = Dispatcher(manager, self._instances, log)

    def close(self) -> None:
        """Close the idle connections to the instances, and listen to the manager no more."""
        self._instances.close()

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on one of `ROUTES`. Cancelling it lets go of upstream and lease at once."""
        try:
            await self._serve(await self._named(scope, receive), scope, send)
        except Rejected as rejected:
            await _answer_error(rejected.answer, scope, send)

    async def passthrough(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request below `/upstream/`. Cancelling it lets go of upstream and lease at once."""
        if scope["type"] != "http":
            scope[RECORD].status = HTTPStatus.FORBIDDEN
            await send({"type": "websocket.close"})
            return
        config = self._config()
        addressed = address(raw_path(scope), config.resolve)
        try:
            if addressed is None:
                raise Rejected.with_code("not_found", "model not found")
            if addressed.needs_redirect:
                await _redirect_into(addressed, scope, send)
                return
            if is_model_route(scope["method"], addressed.path):
                self._tracker.begin(
                    scope,
                    addressed.model,
                    forwarded_path=addressed.path,
                    shown_path=decoded(addressed.path),
                    recorded=is_recorded(scope["method"], addressed.path),
                )
            outgoing = await _passed_through(addressed, config, scope, receive)
            await self._serve(outgoing, scope, send)
        except Rejected as rejected:
            await _answer_error(rejected.answer, scope, send)

    async def _serve(self, outgoing: Outgoing, scope: Scope, send: Send) -> None:
        """Have a request served such that it can be cancelled by others than its client."""
        request: InFlightRequest | None = scope[RECORD].request
        if request is None:
            return await self._dispatcher.serve(outgoing, scope, send)
        request.request_headers = outgoing.headers
        if isinstance(outgoing.body, bytes):
            request.request_body = outgoing.body
        with request.scope:
            await self._dispatcher.serve(outgoing, scope, send)
        if request.scope.cancelled_caught and not scope[RECORD].status:
            raise Rejected.with_code("request_cancelled", "the request was cancelled")
        # A response that has begun is left unfinished: the server breaks the connection.
        return None

    async def _named(self, scope: Scope, receive: Receive) -> Outgoing:
        """What leaves for the model that a request on a model route names."""
        config = self._config()
        body = await whole_body(scope, receive, config.max_request_body)
        requested = requested_by(scope, body)
        path = ROUTES[scope["raw_path"]].upstream_path
        recorded = scope["method"] == "POST"
        if requested.name:
            request = self._tracker.begin(scope, requested.name, forwarded_path=path, recorded=recorded)
            request.streamed = requested.stream
        model = _resolved(requested.name, config)
        request.model = model.id
        return _outgoing(scope, model, path, _edited(body, requested, model), recorded=recorded)


async def _passed_through(addressed: Addressed, config: Config, scope: Scope, receive: Receive) -> Outgoing:
    model = config.models[addressed.model]
    recorded = is_recorded(scope["method"], addressed.path)
    outgoing = _outgoing(scope, model, addressed.path, await passing_body(scope, receive), recorded=recorded)
    path = decoded(addressed.path)
    if any(pattern.search(path) for pattern in config.upstream.ignore_paths):
        outgoing.ready_only = f"model {model.id} is not loaded; path matches upstream.ignorePaths"
    return outgoing


def _resolved(name: str, config: Config) -> ModelConfig:
    if not name:
        raise Rejected.with_code("not_found", "no model id could be identified")
    model = config.resolve(name)
    if model is None:
        raise Rejected.with_code("not_found", "no router for requested model")
    return config.models[model]


def _edited(body: bytes, requested: Requested, model: ModelConfig) -> bytes:
    """The body as the model's server shall see it."""
    if requested.json is not None and model.use_model_name:
        return replace_model(body, requested.json, model.use_model_name)
    return body


def _outgoing(
    scope: Scope, model: ModelConfig, path: bytes, body: bytes | StreamedBody, *, recorded: bool
) -> Outgoing:
    return Outgoing(
        model=model,
        method=scope["method"].encode("ascii"),
        path=path,
        query=scope["query_string"],
        headers=headers_for_upstream(scope, recorded=recorded),
        body=body,
    )


async def _redirect_into(addressed: Addressed, scope: Scope, send: Send) -> None:
    """Send the client to where relative links work: behind a slash."""
    keeps_method = scope["method"] not in ("GET", "HEAD")
    status = HTTPStatus.PERMANENT_REDIRECT if keeps_method else HTTPStatus.MOVED_PERMANENTLY
    await redirect(scope, send, status, location(addressed.root, scope["query_string"]))


async def _answer_error(answer: ErrorAnswer, scope: Scope, send: Send) -> None:
    await send_whole(scope, send, *render(answer, scope))
