"""The routes whose requests name a model in their body or query, and what the upstream sees of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct


class ModelRoute(Struct, frozen=True):
    """One path whose requests go to the model they name."""

    methods: frozenset[str]
    upstream_path: bytes
    """What the inference server sees; differs from our path where that has a prefix of ours."""


_READ = frozenset({"GET", "HEAD"})
_POST = frozenset({"POST"})

_POSTED = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/reranking",
    "/rerank",
    "/v1/rerank",
    "/v1/reranking",
    "/infill",
    "/completion",
    "/v1/audio/speech",
    "/v1/audio/voices",
    "/v1/images/generations",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/audioapi/v1/tasks/run",
    "/v1/audio/transcriptions",
    "/v1/images/edits",
    "/v/chat/completions",
    "/v/responses",
    "/v/completions",
    "/v/messages",
    "/v/messages/count_tokens",
    "/v/embeddings",
    "/v/rerank",
    "/v/reranking",
)

FORM_ROUTES = frozenset({"/v1/audio/transcriptions", "/v1/images/edits"})
"""Paths whose requests are forms, with a file in them."""

_QUERIED = ("/v1/audio/voices", "/sdapi/v1/loras", "/props")

_OUR_PREFIXES = ("/audioapi/", "/v/")
"""`/v/…` is for servers whose base URL carries a version of its own."""


def _upstream_path(path: str) -> bytes:
    for prefix in _OUR_PREFIXES:
        if path.startswith(prefix):
            return path[len(prefix) - 1 :].encode("ascii")
    return path.encode("ascii")


def _table(posted: Iterable[str], queried: Iterable[str]) -> Mapping[bytes, ModelRoute]:
    methods: dict[str, frozenset[str]] = dict.fromkeys(posted, _POST)
    for path in queried:
        methods[path] = methods.get(path, frozenset()) | _READ
    return {
        path.encode("ascii"): ModelRoute(allowed, _upstream_path(path)) for path, allowed in methods.items()
    }


ROUTES: Mapping[bytes, ModelRoute] = _table(_POSTED, _QUERIED)
"""Path as sent by the client, without query → route."""


MODEL_ROUTES: Mapping[str, frozenset[str]] = {
    path.decode("ascii"): route.methods for path, route in ROUTES.items()
}
"""Path → methods, for whoever decides which requests come here."""


def is_model_route(method: str, path: bytes) -> bool:
    """Whether requests of this kind are shown among those in flight."""
    route = ROUTES.get(path)
    return route is not None and method in route.methods


def is_recorded(method: str, path: bytes) -> bool:
    """Whether requests of this kind are recorded in the activity log: POSTs to a model route."""
    return method == "POST" and is_model_route(method, path)
