"""`/openapi.json`: the HTTP interface in the form that generators of clients, tests and pages read.

OpenAPI 3.1. It is made of the tables that requests are routed by and of what stands at the handlers, so it
cannot tell of a route that there is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import (
    ANY_OBJECT,
    ERROR,
    NOT_EMPTY,
    SCHEMAS,
    STRING,
    Content,
    Operation,
    Schema,
    described,
    json,
    operation_of,
)
from swapd.http.api.resource import ANY, Handler
from swapd.http.proxy.ollama.api import ROUTES as OLLAMA_ROUTES
from swapd.http.proxy.routes import FORM_ROUTES, MODEL_ROUTES

Document = dict[str, Any]

_FIELD = re.compile(r"\{(\w+)(:\w+)?\}")
_LEADS_ANYWHERE: Final = ("get", "post", "put", "patch", "delete")
_KEYS: Final[list[Document]] = [{"bearer": []}, {"basic": []}, {"apiKey": []}]
_SCHEMES: Final[Document] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_ERROR_BODY: Final[Content] = {"application/json": ERROR, "text/plain": STRING, "text/html": STRING}
_REASONS: Final = {
    400: "The request cannot be understood.",
    401: "A key is needed.",
    403: "The key is not good for this, or the request comes from a page of another site.",
    404: "There is no such thing.",
    409: "Not in the state that things are in.",
    413: "The request is too large.",
    422: "It was rejected.",
    429: "Too many requests at once.",
    500: "Something went wrong in swapd; its log says what.",
    502: "The model's server cannot be started or reached.",
    503: "Not now.",
    504: "It took too long.",
}


def handler(document: Callable[[], Document]) -> Handler:
    """The handler of the route; `document` is asked once, when it is first wanted."""
    encoded: list[bytes] = []

    @described("This description", json(ANY_OBJECT))
    async def openapi(control: Control, request: Request) -> Response:
        if not encoded:
            encoded.append(msgspec.json.encode(document()))
        return Response(encoded[0], media_type="application/json")

    return openapi


def document(
    routes: Mapping[str, Mapping[str, Handler]], open_paths: frozenset[str], admin_paths: frozenset[str]
) -> Document:
    """The whole description. Raises `LookupError` for a handler that says nothing of itself."""
    paths: dict[str, Document] = {}
    for path, handlers in routes.items():
        paths[plain_path(path)] = {
            method.lower(): _operation(
                path, method, _required(path, handler), path not in open_paths, path in admin_paths
            )
            for method, handler in handlers.items()
            if method != ANY
        }
    for path, methods in _model_operations().items():
        paths.setdefault(path, {}).update(methods)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "swapd",
            "summary": "Starts the model that a request names, and passes the request on to it.",
            "version": "1",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": SCHEMAS, "securitySchemes": _SCHEMES},
    }


def _required(path: str, handler: Handler) -> Operation:
    operation = operation_of(handler)
    if operation is None:
        raise LookupError(f"{path}: {handler.__qualname__} has no description")
    return operation


def plain_path(path: str) -> str:
    """The path as OpenAPI writes it: without the kind of its fields."""
    return _FIELD.sub(r"{\1}", path)


def _operation(path: str, method: str, about: Operation, needs_key: bool, admin: bool) -> Document:
    answers: dict[str, Document] = {
        str(status): {"description": _REASONS.get(status, "As asked."), **_content(content)}
        for status, content in about.answers.items()
    }
    # Any route may be asked for by a page of another site.
    errors = {*about.errors, 403, *((401,) if needs_key else ())}
    for status in sorted(errors):
        answers.setdefault(str(status), {"description": _REASONS[status], **_content(_ERROR_BODY)})
    operation: Document = {
        "summary": about.summary,
        "operationId": _operation_id(method, path),
        "tags": ["admin" if admin else "any key" if needs_key else "open"],
        "security": _KEYS if needs_key else [],
        "parameters": _parameters(path, about.query),
        "responses": answers,
    }
    if about.body is not None:
        operation["requestBody"] = {"required": True, **_content(about.body)}
    return operation


def _parameters(path: str, query: Mapping[str, Any]) -> list[Document]:
    kind = _NUMBER if path.startswith(_NUMBERED) else NOT_EMPTY
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": kind if name == "id" else NOT_EMPTY}
        for name, _ in _FIELD.findall(path)
    ]
    return in_path + [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]


_NUMBERED: Final = ("/api/captures/", "/api/inflight/")
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 1}


def _content(content: Content) -> Document:
    return {"content": {kind: {"schema": schema} for kind, schema in content.items()}} if content else {}


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"\w+", _FIELD.sub(r"\1", path)) or ["root"]
    return "_".join([method.lower(), *words])


# -- routes whose answers are the model's server's ------------------------------------------------------

_NAMES_MODEL: Final[Document] = {
    "type": "object",
    "properties": {"model": {"type": "string", "description": "A model, an alias, a selector or a pin."}},
    "required": ["model"],
}
_PASSED_ON: Final[Document] = {
    "default": {
        "description": "What the model's server answers, as it came; or an error of swapd's, which has "
        '`"src": "swapd"` in it.'
    }
}


def _model_operations() -> dict[str, Document]:
    paths = {
        path: {
            method.lower(): _passed_on(path, method, "For the model that the request names")
            for method in sorted(methods - {"HEAD"})
        }
        for path, methods in MODEL_ROUTES.items()
    }
    for path, handlers in OLLAMA_ROUTES.items():
        paths[path] = {
            method.lower(): _passed_on(path, method, "As Ollama's clients ask")
            for method in handlers
            if method != "HEAD"
        }
    for path, summary in (
        ("/upstream/{model}/{path}", "Whatever the model's server has at that path"),
        ("/comfyui/{path}", "The same of the model comfyui_auto"),
    ):
        paths[path] = {method: _passed_on(path, method.upper(), summary) for method in _LEADS_ANYWHERE}
    return paths


def _passed_on(path: str, method: str, summary: str) -> Document:
    names_model_in_query = method == "GET" and path in MODEL_ROUTES
    operation: Document = {
        "summary": summary,
        "operationId": _operation_id(method, path),
        "tags": ["models"],
        "security": _KEYS,
        "parameters": _parameters(path, {}),
        "responses": _PASSED_ON,
    }
    if names_model_in_query:
        operation["parameters"] = [
            {"name": "model", "in": "query", "required": True, "schema": {"type": "string"}}
        ]
    elif method == "POST" and path in MODEL_ROUTES:
        kind = "multipart/form-data" if path in FORM_ROUTES else "application/json"
        operation["requestBody"] = {"required": True, **_content({kind: _NAMES_MODEL})}
    elif method == "POST" and path in OLLAMA_ROUTES:
        operation["requestBody"] = {"required": True, **_content({"application/json": ANY_OBJECT})}
    return operation
