"""The description of the HTTP interface and the routes there are: the same, in both directions."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import msgspec
import pytest

from swapd.http.api import openapi
from swapd.http.api.describe import described_handlers, operation_of
from swapd.http.api.resource import ANY
from swapd.http.api.routes import ROUTES
from swapd.http.proxy.ollama.api import ROUTES as OLLAMA_ROUTES
from swapd.http.proxy.routes import FORM_ROUTES, MODEL_ROUTES
from tests.unit.http.api.world import World, build_world


async def document(world: World) -> Any:
    answered = await world.get("/openapi.json")
    assert answered.status == 200
    return msgspec.json.decode(answered.body)


def test_every_handler_of_a_route_says_what_it_does() -> None:
    silent = {
        f"{method} {path}"
        for path, handlers in ROUTES.items()
        for method, handler in handlers.items()
        if method != ANY and operation_of(handler) is None
    }
    assert not silent


def test_a_route_whose_handler_says_nothing_is_an_error() -> None:
    async def silent(control: Any, request: Any) -> Any: ...

    with pytest.raises(LookupError, match=r"/new: .*silent has no description"):
        openapi.document({"/new": {"GET": silent}}, frozenset(), frozenset())


def test_a_description_whose_handler_no_route_leads_to_is_an_error() -> None:
    build_world()
    routed = {handler for handlers in ROUTES.values() for handler in handlers.values()}
    stray = {
        f"{handler.__module__}.{handler.__qualname__}"
        for handler in described_handlers()
        if handler not in routed
    }
    # These are made for each application, with what decides about keys
    made = {"openapi.handler.<locals>.openapi"} | {
        f"session.handlers.<locals>.{name}" for name in ("show", "sign_in", "sign_out")
    }
    assert {name.removeprefix("swapd.http.api.") for name in stray} <= made


async def test_the_description_has_every_route_and_no_other() -> None:
    # Given what is described
    described = {
        (method, path)
        for path, methods in (await document(build_world()))["paths"].items()
        for method in methods
    }
    # Then it is what requests are routed by
    tables: list[tuple[str, Any]] = [*ROUTES.items(), *MODEL_ROUTES.items(), *OLLAMA_ROUTES.items()]
    expected = {
        (method.lower(), re.sub(r":\w+\}", "}", path))
        for path, methods in tables
        for method in methods
        if method not in ("HEAD", ANY)
    }
    expected |= {(method, "/api/session") for method in ("get", "post", "delete")}
    expected |= {
        (method, path)
        for path in ("/upstream/{model}/{path}", "/comfyui/{path}")
        for method in ("get", "post", "put", "patch", "delete")
    }
    assert described == expected | {("get", "/openapi.json")}
    assert set(MODEL_ROUTES) >= FORM_ROUTES


async def test_the_description_is_sound() -> None:
    found = await document(build_world())
    # Every schema is one
    for schema in found["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    # Every reference leads somewhere
    references = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(found).decode()))
    assert references == set(found["components"]["schemas"])
    # No two operations have the same name
    ids = [operation["operationId"] for path in found["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


async def test_the_description_says_who_may_ask() -> None:
    paths = (await document(build_world()))["paths"]
    assert paths["/health"]["get"]["security"] == []
    assert paths["/running"]["get"]["security"] == [{"bearer": []}, {"basic": []}, {"apiKey": []}]
    assert paths["/api/config/reload"]["post"]["tags"] == ["admin"]
    # And it needs a key itself, where keys are needed
    assert (await build_world("apiKeys: [secret]\nmodels: {}\n").get("/openapi.json")).status == 401
