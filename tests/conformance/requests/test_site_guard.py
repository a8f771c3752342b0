"""What pages of other sites may do to a daemon that asks nobody for a key."""

from __future__ import annotations

import pytest

from tests.conformance.requests.world import World

CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/api/models/unload", {"Origin": "http://evil.example"}, "cross_site"),
        ("POST", "/api/models/unload", {"Origin": "null"}, "cross_site"),
        ("POST", "/api/models/unload", {"Sec-Fetch-Site": "same-site"}, "cross_site"),
        ("POST", "/api/models/unload", {"Sec-Fetch-Site": "same-origin", "Origin": "http://x"}, None),
        ("POST", "/api/models/unload", {}, None),
        ("GET", "/unload", CROSS, "cross_site"),
        ("GET", "/unload", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, None),
        ("GET", "/unload", {}, None),
        ("GET", "/upstream/m1/x", CROSS, "cross_site"),
        ("GET", "/upstream/m1/", {"Sec-Fetch-Site": "same-origin"}, None),
        ("GET", "/api/version", {"Host": "evil.example"}, "host_not_allowed"),
        ("GET", "/ui/", {"Host": "evil.example:8080"}, "host_not_allowed"),
        ("GET", "/api/version", {"Host": "localhost:8080"}, None),
        ("GET", "/api/version", {"Host": "[::1]:8080"}, None),
        ("GET", "/api/version", {"Host": "ui.localhost"}, None),
        ("GET", "/health", {"Host": "evil.example"}, None),
    ],
)
def test_given_a_page_when_it_asks_then_only_its_own_site_may(
    world: World, method: str, path: str, headers: dict[str, str], code: str | None
) -> None:
    answer = world.client.request(method, path, headers=headers)
    if code is None:
        assert answer.status_code != 403
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)


def test_given_the_daemons_own_address_as_origin_then_it_is_its_own_page(world: World) -> None:
    assert world.client.post("/api/models/unload", headers={"Origin": world.url}).status_code == 200


def test_given_inference_then_any_page_may_ask(world: World) -> None:
    headers = {**CROSS, "origin": "http://evil.example", "host": "evil.example"}
    assert world.client.post("/v1/chat/completions", json={"model": "m1"}, headers=headers).status_code == 200


def test_given_keys_then_the_key_decides(guarded: World) -> None:
    headers = {**CROSS, "Origin": "http://evil.example", "Host": "evil.example", "x-api-key": "secret"}
    assert guarded.client.post("/api/models/unload", headers=headers).status_code == 200
