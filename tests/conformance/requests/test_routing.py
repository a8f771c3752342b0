"""Conformance cases 1 to 8 and 41 to 49: routes, prefixes, passthrough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.requests.world import World, running_world


def test_case_1_health(world: World) -> None:
    answer = world.client.get("/health")
    assert (answer.status_code, answer.content) == (200, b"OK")
    head = world.client.head("/health")
    assert (head.status_code, head.content) == (200, b"")


def test_case_2_unknown_path(world: World) -> None:
    answer = world.client.get("/nope")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/audio/voices", "GET, HEAD, POST"),
    ],
)
def test_cases_3_and_4_wrong_method(world: World, method: str, path: str, allow: str) -> None:
    answer = world.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(
    ("path", "status", "where"),
    [
        ("/", 302, "/ui"),
        ("/ui", 307, "/ui/"),
        ("/upstream", 302, "/ui/models"),
        ("/ui/models", 302, "/ui/#/models"),
        ("/ui/nope.js", 404, None),
        ("/v1//models?x=1", 307, "/v1/models?x=1"),
    ],
)
def test_cases_5_and_6_redirects(world: World, path: str, status: int, where: str | None) -> None:
    answer = world.client.get(path)
    assert (answer.status_code, answer.headers.get("location")) == (status, where)


def test_case_7_preflight(world: World) -> None:
    answer = world.client.options(
        "/anything", headers={"Access-Control-Request-Headers": "X-Custom , Bad Header, Accept"}
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-headers"] == "X-Custom, Accept"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-max-age"] == "86400"
    assert "x-request-id" in answer.headers


def test_case_8_preflight_needs_no_key(guarded: World) -> None:
    assert guarded.client.options("/v1/chat/completions").status_code == 204


def test_case_41_versionless_prefix(world: World) -> None:
    world.client.post("/v/chat/completions", json={"model": "m1"})
    assert world.seen().target == "/chat/completions"


def test_case_42_audio_prefix(world: World) -> None:
    world.client.post("/audioapi/v1/tasks/run", json={"model": "m1"})
    assert world.seen().target == "/v1/tasks/run"


def test_case_43_missing_slash(world: World) -> None:
    got = world.client.get("/upstream/m1?x=1")
    assert (got.status_code, got.headers["location"]) == (301, "/upstream/m1/?x=1")
    posted = world.client.post("/upstream/m1?x=1")
    assert (posted.status_code, posted.headers["location"]) == (308, "/upstream/m1/?x=1")


@pytest.mark.parametrize("model", ["a/b", "a%2Fb"])
def test_case_44_escapes_survive(world: World, model: str) -> None:
    world.client.get(f"/upstream/{model}/x%2Fy?q=1")
    assert world.seen().target == "/x%2Fy?q=1"


def test_case_45_ignored_paths(world: World) -> None:
    answer = world.client.get("/upstream/idle/app.js")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "model idle is not loaded; path matches upstream.ignorePaths"
    assert answer.json()["error"]["code"] == "model_not_loaded"
    world.chat({"model": "m1"})
    world.client.get("/upstream/m1/app.js")
    assert world.seen().target == "/app.js"


def test_case_46_the_body_need_not_name_a_model(world: World) -> None:
    answer = world.client.post("/upstream/m1/v1/chat/completions", json={})
    assert answer.status_code == 200
    assert (world.seen().target, bytes(world.seen().body)) == ("/v1/chat/completions", b"{}")


def test_case_47_unknown_model(world: World) -> None:
    answer = world.client.get("/upstream/nope/x")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "model not found")


def test_case_49_comfyui_without_its_model(world: World) -> None:
    answer = world.client.get("/comfyui?t=1")
    assert (answer.status_code, answer.headers["location"]) == (301, "/comfyui/?t=1")
    assert world.client.post("/comfyui?t=1").status_code == 308
    missing = world.client.get("/comfyui/")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == "local model comfyui_auto not found"


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A set-up with ComfyUI."""
    config = "models:\n  comfyui_auto: {cmd: IDLE, proxy: UPSTREAM}\n"
    with running_world(tmp_path_factory.mktemp("painter"), config) as running:
        yield running


def test_case_49_comfyui_is_started_by_its_page_only(painter: World) -> None:
    client = painter.client
    answer = client.get("/comfyui?t=1")
    assert (answer.status_code, answer.headers["location"]) == (301, "/comfyui/?t=1")
    stopped = client.get("/comfyui/api/x")
    assert (stopped.status_code, stopped.json()["error"]["code"]) == (409, "model_not_loaded")
    assert painter.upstream.requests == []
    client.get("/comfyui/?t=1")
    assert painter.seen().target == "/?t=1"
    client.get("/comfyui/api/x%2Fy?q=1")
    assert painter.seen().target == "/api/x%2Fy?q=1"


def test_passthrough_to_a_peer_rewrites_the_qualified_name_only(world: World) -> None:
    world.client.post("/upstream/p1/rm/v1/chat/completions", json={"model": "p1/rm"})
    assert (world.seen_by_peer().target, world.seen_by_peer().json()) == (
        "/v1/chat/completions",
        {"model": "rm"},
    )
    world.client.post("/upstream/rm/v1/chat/completions?x=%2F", content=b'{"model":"p1/rm"}')
    assert world.seen_by_peer().target == "/v1/chat/completions?x=%2F"
    assert bytes(world.seen_by_peer().body) == b'{"model":"p1/rm"}'


@pytest.mark.parametrize("selector", ["pick", "pick/x"])
def test_case_65_passthrough_knows_no_selectors(world: World, selector: str) -> None:
    assert world.client.get(f"/upstream/{selector}/x").status_code == 404
