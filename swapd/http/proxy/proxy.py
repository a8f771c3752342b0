"""The hot path: requests for models, from the client's bytes to the instance's and back.

Two plain ASGI callables, `Proxy.models` for the routes that name a model in their body or query, and
`Proxy.passthrough` for `/upstream/{model}/{path…}` and `/comfyui/{path…}`. Which requests come here is the
application's to decide; it has dealt with other methods, unclean paths and `OPTIONS`.

A request passes a few steps, each a function: read whom it asks for, rewrite that as profile and selector
say, resolve the name, edit the body, compose what leaves, have it served. A step that ends the request raises
`Rejected`. The way of a request as a whole is described in docs/design/request-path.md.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

import trio

from swapd.config import Config
from swapd.http.answers import redirect, send_whole
from swapd.http.auth import caller_of
from swapd.http.credentials import without_own_keys
from swapd.http.errors import ErrorAnswer, Rejected, render
from swapd.http.paths import location, raw_path
from swapd.http.proxy.bodies import passing_body
from swapd.http.proxy.dispatch import Dispatcher, Outgoing
from swapd.http.proxy.filters import FilterTable, NotJson
from swapd.http.proxy.forms import first_value, without_unreadable
from swapd.http.proxy.headers import headers_for_peer, headers_for_upstream
from swapd.http.proxy.instances import Instances
from swapd.http.proxy.loading import LOADING, Loading, LoadingRelay
from swapd.http.proxy.passthrough import COMFYUI, Addressed, address, decoded, pinned
from swapd.http.proxy.profiles import Profiles
from swapd.http.proxy.relay import Relay
from swapd.http.proxy.requested import Carrier, Requested, read_request
from swapd.http.proxy.routes import ROUTES, is_model_route, is_recorded
from swapd.http.proxy.selectors import Choice, Selectors
from swapd.http.proxy.targets import PeerRequest, PeerTarget, Target, find_target
from swapd.http.record import RECORD, Tracker
from swapd.http.server.asgi import Headers, Receive, Scope, Send
from swapd.http.upstream import StreamedBody
from swapd.nursery.manager import Manager
from swapd.observe.inflight import InFlight, InFlightRequest
from swapd.observe.logger import Logger

if TYPE_CHECKING:
    from swapd.http.proxy.peers import Peers
    from swapd.http.proxy.websocket_service import WebSockets

COMFYUI_MODEL = "comfyui_auto"
"""The one model that `/comfyui/…` leads to."""

RECORDED_PATH = "swapd.recorded_path"
"""The key under which a scope holds the path that is recorded for it, if that is not the one forwarded."""

_CLOSE_S = 1.0


class Proxy:
    """Serves requests for models.

    `config` returns the configuration in force and is asked once a request. What is kept from one request to
    the next are the connections to instances and peers, which `aclose` closes, and the places that selectors
    have given away.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        manager: Manager,
        log: Logger,
        tracker: Tracker | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        """Requests for models are entered with `tracker`; whoever made the scope's record takes them out."""
        self._config = config
        self._tracker = tracker or Tracker(InFlight())
        self._log = log
        self._profiles = profiles or Profiles(config)
        self._selectors = Selectors(lambda: manager.snapshot().models)
        self._filters = FilterTable()
        self._instances = Instances(manager)
        self._dispatcher = Dispatcher(manager, self._instances, log)
        self._manager = manager
        self._peers: Peers | None = None
        self._websockets: WebSockets | None = None

    async def aclose(self) -> None:
        """Close the connections to instances and peers, and listen to the manager no more.

        Takes at most a second, also when cancelled.
        """
        self._instances.close()
        if self._peers is not None:
            with trio.move_on_after(_CLOSE_S, shield=True):
                await self._peers.aclose()

    # -- names -----------------------------------------------------------------------------------------------

    def knows(self, name: str) -> bool:
        """Whether a request may ask for `name`, at this moment."""
        config = self._config()
        return (
            name in self._profiles.pins(config)
            or name in config.selectors
            or find_target(name, config) is not None
        )

    def target_of(self, name: str, scope: Scope) -> Target | None:
        """Whom `name` leads to for the caller, after profile and selector; None if it is unknown.

        Raises `Rejected` if the caller may not use it, or the selector has no target.
        """
        config = self._config()
        name = self._profiles.pins(config).get(name, name)
        selector = config.selectors.get(name)
        if selector is not None:
            choice = self._selectors.choose(name, selector)
            choice.release()
            name = choice.target
        target = find_target(name, config)
        if target is not None:
            _check_allowed(target, name, config, scope)
        return target

    # -- model routes ----------------------------------------------------------------------------------------

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request on one of `ROUTES`. Cancelling it lets go of upstream and lease at once."""
        config = self._config()
        if scope["type"] == "websocket":
            await self._named_websocket(config, scope, receive, send)
            return
        requested: Requested | None = None
        choice: Choice | None = None
        try:
            requested = await read_request(scope, receive, config.max_request_body)
            pins = self._profiles.pins(config)
            profile = None
            if pins and (target := pins.get(requested.name)) is not None:
                _pin(requested, target)
                profile = self._profiles.active
            selector = config.selectors.get(requested.name)
            if selector is not None:
                choice = self._selectors.choose(requested.name, selector)
                requested.rename(choice.target)
            outgoing = self._named(requested, config, scope)
            if choice is not None:
                scope[RECORD].request.note("selector", choice.selector)
            if profile is not None:
                scope[RECORD].request.note_column("profile", profile)
            await self._serve(outgoing, scope, send)
        except Rejected as rejected:
            if choice is not None and rejected.answer.code == "peer_error":
                self._selectors.pass_over(choice)
            await _answer_error(rejected.answer, scope, send)
        finally:
            if choice is not None:
                choice.release()
            if requested is not None:
                requested.close()

    def _named(self, requested: Requested, config: Config, scope: Scope) -> Outgoing | PeerRequest:
        """What leaves for the model that a request has come to ask for."""
        name = requested.name
        if not name:
            raise Rejected.with_code("not_found", "no model id could be identified")
        target = find_target(name, config)
        if config.api_keys and target is not None:
            _check_allowed(target, name, config, scope)
        path = ROUTES[scope["raw_path"]].upstream_path
        recorded = scope["method"] == "POST"
        shown = scope.get(RECORDED_PATH, path)
        request = self._tracker.begin(scope, _shown_as(target, name), forwarded_path=shown, recorded=recorded)
        request.requested = name
        request.streamed = requested.stream
        if target is None:
            raise Rejected.with_code("not_found", "no router for requested model")
        if config.api_keys or config.peers:
            _note_target(request, target, scope)
        self._edit(requested, target, config)
        headers = _headers(scope, config, recorded=recorded)
        outgoing = _outgoing(target, scope, path, requested.query, headers, requested.leaving_body())
        if requested.stream and isinstance(outgoing, Outgoing) and _tells_of_loading(outgoing, scope):
            outgoing.loading = Loading(name, config.loading_remarks)
        return outgoing

    async def _serve(self, outgoing: Outgoing | PeerRequest, scope: Scope, send: Send) -> None:
        """Have a request served such that it can be cancelled by others than its client."""
        request: InFlightRequest | None = scope[RECORD].request
        if request is None:
            return await self._pass_on(outgoing, scope, send)
        request.request_headers = outgoing.headers
        if isinstance(outgoing.body, bytes):
            request.request_body = outgoing.body
        if isinstance(outgoing, Outgoing) and (lease := self._dispatcher.lease_at_once(outgoing)) is not None:
            request.can_be_cancelled_by(lease)
            return await self._dispatcher.serve_at_once(lease, outgoing, Relay(scope, send))
        with trio.CancelScope() as work:
            request.can_be_cancelled_by(work)
            await self._pass_on(outgoing, scope, send)
        if work.cancelled_caught:
            await _answer_cancelled(scope)
        return None

    async def _pass_on(self, outgoing: Outgoing | PeerRequest, scope: Scope, send: Send) -> None:
        if isinstance(outgoing, Outgoing):
            return await self._dispatcher.serve(outgoing, scope, send)
        if self._peers is None:
            from swapd.http.proxy.peers import Peers  # see there

            self._peers = Peers(self._log)
        return await self._peers.serve(outgoing, scope, send)

    def _edit(self, requested: Requested, target: Target, config: Config) -> None:
        """Make of a request's body and query what the target shall see."""
        asked_by = requested.name
        if isinstance(target, PeerTarget):
            filters = target.peer.filters
            if asked_by != target.model:
                requested.rename(target.model)
        else:
            filters = target.filters
            if target.use_model_name and requested.carrier in (Carrier.JSON, Carrier.MULTIPART):
                requested.rename(target.use_model_name)
        compiled = self._filters.of(filters, config)
        if compiled is None or requested.json is None:
            return
        assert isinstance(requested.body, bytes)
        try:
            requested.body = compiled.applied(requested.body, asked_by)
        except NotJson as error:
            self._log.warn(
                f"[{target.id}] filters not applied, the request's body is not JSON: {error}",
                event="filter.skipped",
                model=target.id,
            )

    # -- passthrough -----------------------------------------------------------------------------------------

    async def passthrough(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request below `/upstream/` or `/comfyui/`. Cancelling it lets go of everything at once."""
        config = self._config()
        raw = raw_path(scope)
        try:
            if scope["type"] == "websocket":
                await self._websocket(self._addressed(raw, config), config, scope, receive, send)
                return
            if raw == COMFYUI:
                await _redirect_into(COMFYUI + b"/", scope, send)
                return
            addressed = self._addressed(raw, config)
            if addressed.needs_redirect:
                await _redirect_into(addressed.root, scope, send)
                return
            _check_allowed(addressed.target, addressed.name, config, scope)
            self._track(addressed, scope)
            await self._serve_addressed(addressed, config, scope, receive, send)
        except Rejected as rejected:
            await _answer_error(rejected.answer, scope, send)

    def _track(self, addressed: Addressed, scope: Scope) -> None:
        """Enter a request among those in flight, if it is what is entered on the model routes too."""
        path = addressed.path
        if addressed.prefix == COMFYUI or not is_model_route(scope["method"], path):
            return
        request = self._tracker.begin(
            scope,
            _shown_as(addressed.target, addressed.name),
            forwarded_path=path,
            shown_path=decoded(path),
            recorded=is_recorded(scope["method"], path),
        )
        _note_target(request, addressed.target, scope)

    def _addressed(self, raw: bytes, config: Config) -> Addressed:
        """What a path addresses. Raises `Rejected` if it addresses nothing."""
        if raw.startswith(COMFYUI):
            model = config.models.get(COMFYUI_MODEL)
            if model is None:
                raise Rejected.with_code("not_found", f"local model {COMFYUI_MODEL} not found")
            rest = raw[len(COMFYUI) :]
            reason = "" if rest == b"/" else f"model {model.id} is not loaded; only /comfyui/ can start it"
            return Addressed(model.id, model, rest, COMFYUI, ready_only=reason)
        pins = self._profiles.pins(config)
        if pins:
            raw = pinned(raw, pins)
        addressed = address(raw, lambda name: find_target(name, config))
        if addressed is None:
            raise Rejected.with_code("not_found", "model not found")
        path = decoded(addressed.path)
        if any(pattern.search(path) for pattern in config.upstream.ignore_paths):
            addressed.ready_only = (
                f"model {addressed.target.id} is not loaded; path matches upstream.ignorePaths"
            )
        return addressed

    async def _serve_addressed(
        self, addressed: Addressed, config: Config, scope: Scope, receive: Receive, send: Send
    ) -> None:
        target, path, query = addressed.target, addressed.path, scope["query_string"]
        recorded = addressed.prefix != COMFYUI and is_recorded(scope["method"], path)
        headers = _headers(scope, config, recorded=recorded)
        if not isinstance(target, PeerTarget) or addressed.name == target.model:
            outgoing = _outgoing(target, scope, path, query, headers, await passing_body(scope, receive))
            if isinstance(outgoing, Outgoing):
                outgoing.ready_only = addressed.ready_only
            await self._serve(outgoing, scope, send)
            return
        # The peer does not know its model by the qualified name: where the request says that, it changes.
        requested = await read_request(scope, receive, config.max_request_body)
        try:
            if requested.name == addressed.name:
                requested.rename(target.model)
            body = requested.leaving_body()
            await self._serve(_outgoing(target, scope, path, requested.query, headers, body), scope, send)
        finally:
            requested.close()

    # -- WebSockets ------------------------------------------------------------------------------------------

    async def _named_websocket(self, config: Config, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket on a route whose query names the model."""
        try:
            target = find_target(first_value(scope["query_string"], "model") or "", config)
            if target is None:
                raise Rejected.with_code("not_found", "no local server found for requested model")
            addressed = Addressed(target.id, target, ROUTES[raw_path(scope)].upstream_path)
            await self._websocket(addressed, config, scope, receive, send)
        except Rejected as rejected:
            await _answer_error(rejected.answer, scope, send)

    async def _websocket(
        self, addressed: Addressed, config: Config, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a WebSocket. Raises `Rejected` as long as the client was not accepted."""
        _check_allowed(addressed.target, addressed.name, config, scope)
        from swapd.http.proxy.websocket_service import (
            Handshake,
            WebSockets,
        )  # loaded only where they are used

        if self._websockets is None:
            self._websockets = WebSockets(self._dispatcher, self._manager, self._log)
        headers = _headers(scope, config, recorded=False)
        await self._websockets.serve(Handshake(addressed, headers, scope, receive, send))


def _pin(requested: Requested, target: str) -> None:
    """Let a request ask for what its profile has in the place of the name; "" is nothing at all."""
    if not target:
        requested.name = ""
        return
    requested.rename(target)


def _shown_as(target: Target | None, name: str) -> str:
    """The name of a model in lists: its id if it is one of ours, else what it was called."""
    return name if target is None or isinstance(target, PeerTarget) else target.id


def _tells_of_loading(outgoing: Outgoing, scope: Scope) -> bool:
    """Whether the stream that was asked for may begin with how the model is loaded."""
    is_chat = outgoing.path.startswith(b"/v1/chat/completions") and RECORDED_PATH not in scope
    return is_chat and outgoing.model.send_loading_state


async def _answer_cancelled(scope: Scope) -> None:
    """Tell a client that somebody else has ended its request, if it still can be told.

    Raises `Rejected` while nothing has been sent. A response that has begun is left unfinished: the server
    breaks the connection.
    """
    answer = ErrorAnswer("request_cancelled", "the request was cancelled")
    loading: LoadingRelay | None = scope.get(LOADING)
    if loading is not None:
        await loading.fail(answer)
    elif not scope[RECORD].status:
        raise Rejected(answer)


def _note_target(request: InFlightRequest, target: Target, scope: Scope) -> None:
    """Tell those who watch whom a request is for, and whose it is."""
    if isinstance(target, PeerTarget):
        request.upstream = target.peer_id
    request.key_name = caller_of(scope).name


def _outgoing(
    target: Target, scope: Scope, path: bytes, query: bytes, headers: Headers, body: bytes | StreamedBody
) -> Outgoing | PeerRequest:
    """A request for a model, or for a peer in the form that a peer gets to see."""
    method = scope["method"].encode("ascii")
    if isinstance(target, PeerTarget):
        own_headers = headers_for_peer(headers, target.peer.api_key)
        return PeerRequest(target, method, path, without_unreadable(query), own_headers, body)
    return Outgoing(target, method, path, query, headers, body)


def _check_allowed(target: Target, name: str, config: Config, scope: Scope) -> None:
    if not caller_of(scope).may_use(target.id, config):
        raise Rejected.with_code("model_not_allowed", f"api key is not allowed to use model {name}")


def _headers(scope: Scope, config: Config, *, recorded: bool) -> Headers:
    """The request's headers for whoever is to serve it, without keys of ours."""
    headers = headers_for_upstream(scope, recorded=recorded)
    if not config.api_keys:
        return headers
    return without_own_keys(headers, {key.key.encode() for key in config.api_keys})


async def _redirect_into(root: bytes, scope: Scope, send: Send) -> None:
    """Send the client to where relative links work: behind a slash."""
    keeps_method = scope["method"] not in ("GET", "HEAD")
    status = HTTPStatus.PERMANENT_REDIRECT if keeps_method else HTTPStatus.MOVED_PERMANENTLY
    await redirect(scope, send, status, location(root, scope["query_string"]))


async def _answer_error(answer: ErrorAnswer, scope: Scope, send: Send) -> None:
    scope[RECORD].error_code = answer.code
    await send_whole(scope, send, *render(answer, scope))
