"""Who needs a key, and which key counts."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.unit.http.api.world import CONFIG, World, build_world, no_body, scope_of


@pytest.fixture
def guarded() -> World:
    return build_world("apiKeys: [secret, other-öäü]\n" + CONFIG)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


PROTECTED = [
    ("GET", "/running"),
    ("GET", "/v1/models"),
    ("GET", "/models"),
    ("GET", "/unload"),
    ("GET", "/logs"),
    ("GET", "/logs/stream/m1"),
    ("GET", "/api/version"),
    ("POST", "/api/models/unload"),
    ("POST", "/api/models/unload/m1"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/ch%61t/completions"),
    ("GET", "/props"),
    ("GET", "/upstream/m1/"),
    ("POST", "/upstream/m1/x"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_given_keys_when_a_protected_route_is_asked_without_one_then_it_refuses_and_does_nothing(
    guarded: World, method: str, path: str
) -> None:
    answer = await guarded.call(method, path)

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="swapd"'
    assert json.loads(answer.body) == {
        "src": "swapd",
        "error": {
            "message": "unauthorized: invalid or missing API key",
            "type": "authentication_error",
            "param": None,
            "code": "unauthorized",
        },
    }
    assert not guarded.asked
    assert not guarded.manager.unloaded


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 302),
        ("GET", "/health", 200),
        ("GET", "/wol-health", 200),
        ("GET", "/upstream", 302),
        ("GET", "/ui", 307),
        ("GET", "/ui/", 200),
        ("GET", "/ui/x.js", 404),
        ("OPTIONS", "/v1/chat/completions", 204),
        ("GET", "/nope", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/running", 405),
        ("GET", "/v1//models", 307),
    ],
)
async def test_given_keys_when_an_open_route_is_asked_without_one_then_it_answers(
    guarded: World, method: str, path: str, status: int
) -> None:
    assert (await guarded.call(method, path)).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "bearer secret"},
        {"Authorization": "BEARER other-öäü".encode().decode("latin-1")},
        {"Authorization": basic("any:secret")},
        {"Authorization": basic(":secret")},
        {"Authorization": basic("any:other-öäü")},
        {"Authorization": "bAsIc " + base64.b64encode(b"any:secret").decode()},
        {"x-api-key": "secret"},
        {"Authorization": "Basic !!!", "x-api-key": "secret"},
        {"Authorization": basic("no colon"), "x-api-key": "secret"},
        {"Authorization": basic("empty:"), "x-api-key": "secret"},
        {"Authorization": "Digest x", "x-api-key": "secret"},
        {"Authorization": "Bearer secret", "x-api-key": "wrong"},
    ],
)
async def test_given_a_valid_key_when_shown_in_each_way_then_the_request_is_answered(
    guarded: World, headers: dict[str, str]
) -> None:
    assert (await guarded.get("/running", headers)).status == 200
    assert (await guarded.call("POST", "/v1/chat/completions", headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer secret "},
        {"Authorization": "Bearer  secret"},
        {"Authorization": "Bearer"},
        {"Authorization": "secret"},
        {"Authorization": "Bearer wrong", "x-api-key": "secret"},
        {"Authorization": "Bearer ", "x-api-key": "secret"},
        {"Authorization": basic("secret:wrong"), "x-api-key": "secret"},
        {"x-api-key": "Secret"},
        {"x-api-key": ""},
        {"Cookie": "secret"},
    ],
)
async def test_given_a_wrong_key_when_shown_then_a_right_one_further_down_does_not_help(
    guarded: World, headers: dict[str, str]
) -> None:
    assert (await guarded.get("/running?api_key=secret", headers)).status == 401


@pytest.mark.parametrize("headers", [{"X-Swapd-UI": "1"}, {"Sec-Fetch-Site": "same-origin"}])
async def test_given_our_own_page_when_it_is_refused_then_the_browser_is_not_made_to_ask(
    guarded: World, headers: dict[str, str]
) -> None:
    answer = await guarded.get("/running", headers)

    assert answer.status == 401
    assert "www-authenticate" not in answer.headers


async def test_given_a_client_that_wants_text_when_it_is_refused_then_it_gets_text(guarded: World) -> None:
    answer = await guarded.get("/running", {"Accept": "text/plain"})

    assert answer.body == b"swapd: unauthorized: invalid or missing API key"


async def test_given_no_keys_when_anything_is_shown_then_everything_is_answered(world: World) -> None:
    assert (await world.get("/running", {"Authorization": "Bearer any"})).status == 200


async def test_given_keys_that_a_reload_replaces_when_shown_then_those_in_force_count(guarded: World) -> None:
    from swapd.config import loads

    new = loads("apiKeys: [fresh]").config
    assert new is not None
    guarded.app._auth._keys = lambda: new.api_keys

    assert (await guarded.call("POST", "/props", {"x-api-key": "secret"})).status == 405
    assert (await guarded.call("GET", "/props", {"x-api-key": "secret"})).status == 401
    assert (await guarded.call("GET", "/props", {"x-api-key": "fresh"})).status == 200


async def test_given_keys_when_a_websocket_is_opened_without_one_then_it_is_denied_with_the_401(
    guarded: World,
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = scope_of("GET", "/upstream/m1/ws", type="websocket", extensions={"websocket.http.response": {}})
    await guarded.app(scope, no_body, send)

    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 401
    assert not guarded.asked
