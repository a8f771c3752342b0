"""`/api/chat`, `/api/tags` and so on: what clients of Ollama ask, answered by the models here.

A request to a model is translated and handed to the model routes as if it had been sent there. So profiles,
selectors, filters, keys, queueing and the activity log are the same, and only the form differs.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from swapd.config import Config
from swapd.http.answers import send_whole
from swapd.http.errors import ErrorAnswer, Rejected, from_refusal, render
from swapd.http.proxy.bodies import whole_body
from swapd.http.proxy.ollama import listing
from swapd.http.proxy.ollama.replies import Json, Reply
from swapd.http.proxy.ollama.requests import chat_request, embed_request, generate_request, wants_unload
from swapd.http.proxy.ollama.translation import Translated, TranslatedStream, waited_ns
from swapd.http.proxy.proxy import RECORDED_PATH, Proxy
from swapd.http.proxy.targets import PeerTarget
from swapd.http.record import RECORD
from swapd.http.server.asgi import Receive, Scope, Send
from swapd.nursery.lease import Refused
from swapd.nursery.manager import Manager

_DROPPED: Final = frozenset(
    {b"content-type", b"content-length", b"transfer-encoding", b"accept", b"accept-encoding", b"expect"}
)
_LATEST: Final = ":latest"

Handler = Callable[["OllamaApi", Scope, Receive, Send], Awaitable[None]]


class OllamaApi:
    """An ASGI application for the paths and methods that `methods` knows.

    The mutable state is since when the present configuration has been seen.
    """

    def __init__(self, config: Callable[[], Config], proxy: Proxy, manager: Manager) -> None:
        self._config = config
        self._proxy = proxy
        self._manager = manager
        self._seen: tuple[Config | None, float] = (None, 0.0)

    def methods(self, path: str) -> frozenset[str] | None:
        """The methods of a path; None if it is none of ours, or the API is switched off."""
        route = ROUTES.get(path)
        if route is None and path.startswith("/api/blobs/"):
            route = _BLOBS
        return frozenset(route) if route is not None and self._config().ollama.enabled else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await ROUTES.get(scope["path"], _BLOBS)[scope["method"]](self, scope, receive, send)
        except Rejected as rejected:
            await _answer_error(rejected.answer, scope, send)

    # -- questions about models ------------------------------------------------------------------------------

    async def tags(self, scope: Scope, receive: Receive, send: Send) -> None:
        models = listing.tags(self._config(), scope, self._loaded_at())
        await _answer(scope, send, {"models": models})

    async def ps(self, scope: Scope, receive: Receive, send: Send) -> None:
        models = listing.running(self._config(), scope, self._manager.snapshot())
        await _answer(scope, send, {"models": models})

    async def show(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)
        target = self._proxy.target_of(asked["model"], scope)
        if target is None:
            raise Rejected.with_code("not_found", f"model '{asked['model']}' not found")
        await _answer(scope, send, listing.shown(target, self._loaded_at()))

    def _loaded_at(self) -> float:
        """Since when the configuration has been in force, as far as it is known here."""
        config = self._config()
        if self._seen[0] is not config:
            self._seen = (config, time.time())
        return self._seen[1]

    # -- requests to models ----------------------------------------------------------------------------------

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)
        reply = Reply(asked["model"], chat=True)
        if not asked.get("messages"):
            await self._load_or_unload(asked, reply, scope, send)
            return
        stream = asked.get("stream") is not False
        body = chat_request(asked, stream=stream)
        await self._pass_on("/v1/chat/completions", body, reply, stream, scope, receive, send)

    async def generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)
        reply = Reply(asked["model"], chat=False)
        if not asked.get("prompt") and not asked.get("suffix"):
            await self._load_or_unload(asked, reply, scope, send)
            return
        stream = asked.get("stream") is not False
        path, body = generate_request(asked, stream=stream)
        await self._pass_on(path, body, reply, stream, scope, receive, send)

    async def embed(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)
        began = time.perf_counter_ns()

        def whole(answer: Json) -> Json:
            usage = answer.get("usage") or {}
            return {
                "model": asked["model"],
                "embeddings": _vectors(answer),
                "total_duration": time.perf_counter_ns() - began,
                "load_duration": waited_ns(scope[RECORD]),
                "prompt_eval_count": usage.get("prompt_tokens", 0),
            }

        body = embed_request(asked, asked.get("input"))
        await self._inner(
            "/v1/embeddings", body, scope, receive, Translated(scope, send, asked["model"], whole)
        )

    async def embeddings(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive)

        def whole(answer: Json) -> Json:
            return {"embedding": next(iter(_vectors(answer)), [])}

        body = embed_request(asked, asked.get("prompt"))
        await self._inner(
            "/v1/embeddings", body, scope, receive, Translated(scope, send, asked["model"], whole)
        )

    async def unsupported(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(scope, send, {"error": "not supported"}, status=501)

    # -- steps -----------------------------------------------------------------------------------------------

    async def _asked(self, scope: Scope, receive: Receive) -> Json:
        """The request as an object with a `model`. Raises `Rejected`."""
        body = await whole_body(scope, receive, self._config().max_request_body)
        try:
            asked = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Rejected.with_code("bad_request", f"the request is not valid JSON: {error}") from None
        if not isinstance(asked, dict):
            raise Rejected.with_code("bad_request", "the request must be a JSON object")
        name = asked.get("model") or asked.get("name")
        if not isinstance(name, str) or not name:
            raise Rejected.with_code("bad_request", "model is required")
        return {**asked, "model": self._known_name(name)}

    def _known_name(self, name: str) -> str:
        """The name without the tag that Ollama's clients put behind it, if only that is known."""
        if name.endswith(_LATEST) and not self._proxy.knows(name):
            return name.removesuffix(_LATEST)
        return name

    async def _pass_on(
        self, path: str, body: Json, reply: Reply, stream: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if stream:
            await self._inner(path, body, scope, receive, TranslatedStream(scope, send, body["model"], reply))
            return

        def whole(answer: Json) -> Json:
            reply.load_ns = waited_ns(scope[RECORD])
            return reply.whole(answer)

        await self._inner(path, body, scope, receive, Translated(scope, send, body["model"], whole))

    async def _inner(self, path: str, body: Json, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the model route `path`. The scope keeps our path: that is what lists and logs show."""
        content = msgspec.json.encode(body)
        headers = [pair for pair in scope["headers"] if pair[0] not in _DROPPED]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        pending = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive_inner() -> Any:
            return pending.pop() if pending else await receive()

        inner = {
            **scope,
            "raw_path": path.encode("ascii"),
            "query_string": b"",
            "headers": headers,
            "extensions": {},
            RECORDED_PATH: scope["path"].encode("utf-8"),
        }
        await self._proxy.models(inner, receive_inner, send)

    async def _load_or_unload(self, asked: Json, reply: Reply, scope: Scope, send: Send) -> None:
        """A request without anything to say is about the model itself."""
        target = self._proxy.target_of(asked["model"], scope)
        if target is None:
            raise Rejected.with_code("not_found", f"model '{asked['model']}' not found")
        unload = wants_unload(asked)
        if not isinstance(target, PeerTarget):
            if unload:
                await self._manager.unload([target.id])
            else:
                await self._load(target.id)
        await _answer(scope, send, reply.without_work("unload" if unload else "load"))

    async def _load(self, model: str) -> None:
        try:
            (await self._manager.acquire(model)).release()
        except Refused as refused:
            raise Rejected(from_refusal(refused.refusal)) from None


ROUTES: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/api/tags": {"GET": OllamaApi.tags, "HEAD": OllamaApi.tags},
    "/api/ps": {"GET": OllamaApi.ps, "HEAD": OllamaApi.ps},
    "/api/show": {"POST": OllamaApi.show},
    "/api/chat": {"POST": OllamaApi.chat},
    "/api/generate": {"POST": OllamaApi.generate},
    "/api/embed": {"POST": OllamaApi.embed},
    "/api/embeddings": {"POST": OllamaApi.embeddings},
    "/api/pull": {"POST": OllamaApi.unsupported},
    "/api/push": {"POST": OllamaApi.unsupported},
    "/api/create": {"POST": OllamaApi.unsupported},
    "/api/copy": {"POST": OllamaApi.unsupported},
    "/api/delete": {"DELETE": OllamaApi.unsupported},
}
_BLOBS: Final[Mapping[str, Handler]] = {"HEAD": OllamaApi.unsupported, "POST": OllamaApi.unsupported}


def _vectors(answer: Json) -> list[Any]:
    rows = answer.get("data")
    if not isinstance(rows, list):
        return []
    ordered = sorted((row for row in rows if isinstance(row, dict)), key=lambda row: row.get("index", 0))
    return [row.get("embedding", []) for row in ordered]


async def _answer(scope: Scope, send: Send, value: Json, *, status: int = 200) -> None:
    body = msgspec.json.encode(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send_whole(scope, send, status, headers, body)


async def _answer_error(answer: ErrorAnswer, scope: Scope, send: Send) -> None:
    """An error in Ollama's shape, with the status and `Retry-After` that it has elsewhere."""
    status, headers, _ = render(answer, scope)
    kept = [pair for pair in headers if pair[0] not in (b"content-type", b"content-length")]
    body = msgspec.json.encode({"error": answer.message})
    length = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send_whole(scope, send, status, [*length, *kept], body)
