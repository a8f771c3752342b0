"""Which part answers which request, and what everybody gets who asks for what is not there."""

from __future__ import annotations

import pytest

from swapd.observe.logger import Level
from tests.unit.http.api.world import World

PLAIN = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


# --- no such path, not with this method ---------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/v1/models/",
        "/v1%2Fmodels",
        "/v1/realtime",
        "/chat/completions",
        "/health/",
        "/running/x",
        "/v1/chat/completions/",
        "/v1/models%0A",
        "/%ff%fe%00",
        "/caf\xc3\xa9",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_given_an_unknown_path_when_asked_for_then_the_answer_is_a_plain_404(
    world: World, method: str, path: str
) -> None:
    answer = await world.call(method, path)

    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers == {**PLAIN, "content-length": "19"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/audio/voices", "GET, HEAD, POST"),
        ("POST", "/props", "GET, HEAD"),
        ("GET", "/api/models/unload", "POST"),
        ("HEAD", "/api/models/unload", "POST"),
        ("PUT", "/api/models/unload/m1", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("POST", "/ui", "GET, HEAD"),
        ("POST", "/logs/stream/m1", "GET, HEAD"),
        ("BREW", "/health", "GET, HEAD"),
        ("GET", "/v1/ch%61t/completions", "POST"),
    ],
)
async def test_given_a_wrong_method_when_asked_for_then_the_answer_is_a_plain_405_with_the_right_ones(
    world: World, method: str, path: str, allow: str
) -> None:
    answer = await world.call(method, path)

    assert answer.status == 405
    assert answer.body == (b"" if method == "HEAD" else b"Method Not Allowed\n")
    assert answer.headers == {**PLAIN, "allow": allow, "content-length": "19"}


# --- who answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/audio/voices"),
        ("POST", "/v1/audio/voices?model=m1"),
        ("HEAD", "/props"),
    ],
)
async def test_given_a_model_route_when_asked_for_then_the_hot_path_answers(
    world: World, method: str, path: str
) -> None:
    await world.call(method, path)

    bare = path.partition("?")[0]
    assert world.asked == [("models", bare, bare.encode())]


async def test_given_a_model_route_with_needless_escapes_when_asked_for_then_it_is_the_same_route(
    world: World,
) -> None:
    answer = await world.call("POST", "/v1/%63hat/c%6Fmpletions")

    assert answer.body == b"models"
    assert world.asked == [("models", "/v1/chat/completions", b"/v1/chat/completions")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PROPFIND"])
async def test_given_a_path_below_upstream_when_asked_for_then_it_is_passed_through(
    world: World, method: str
) -> None:
    await world.call(method, "/upstream/a%2Fb/x%2Fy?q=1")

    assert world.asked == [("passthrough", "/upstream/a/b/x/y", b"/upstream/a%2Fb/x%2Fy")]


async def test_given_a_server_that_leaves_the_raw_path_out_when_asked_for_then_the_path_will_do(
    world: World,
) -> None:
    answer = await world.call("GET", "/health", raw_path=b"")

    assert answer.status == 200


async def test_given_an_escaped_letter_when_asked_for_then_the_route_is_found(world: World) -> None:
    assert (await world.get("/v1/%6Dodels")).status == 200


# --- paths that are not canonical ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/v1//models?x=1", "/v1/models?x=1"),
        ("/v1/./models", "/v1/models"),
        ("/v1/x/../models", "/v1/models"),
        ("/v1/models//", "/v1/models/"),
        ("//evil.example/x", "/evil.example/x"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/..", "/"),
        ("//", "/"),
        ("/v1/models/.", "/v1/models/"),
        ("/v1/models/..", "/v1/"),
        ("/upstream/m1//x%2Fy/./z?a=b%20c&d=//", "/upstream/m1/x%2Fy/z?a=b%20c&d=//"),
        ("/upstream//%2e%2e/x", "/upstream/%2e%2e/x"),
        ("/\\evil.example//x", "/%5Cevil.example/x"),
        ("/a//\xe4\xb8", "/a/%E4%B8"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_given_a_path_that_is_not_canonical_when_asked_for_then_it_is_redirected(
    world: World, method: str, target: str, location: str
) -> None:
    answer = await world.call(method, target)

    assert (answer.status, answer.headers["location"]) == (307, location)
    assert not world.asked


@pytest.mark.parametrize(
    "path", ["/.well-known/x", "/v1/%2E%2E/models", "/v1/%2F/models", "/a...b", "/x/..."]
)
async def test_given_dots_and_escapes_that_mean_nothing_when_asked_for_then_there_is_no_redirect(
    world: World, path: str
) -> None:
    assert (await world.get(path)).status == 404


# --- redirects ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "status", "location", "phrase"),
    [
        ("GET", "/", 302, "/ui", "Found"),
        ("GET", "/ui", 307, "/ui/", "Temporary Redirect"),
        ("GET", "/upstream", 302, "/ui/models", "Found"),
        ("GET", "/ui/models", 302, "/ui/#/models", "Found"),
        ("GET", "/ui/models/m%201", 302, "/ui/#/models/m%201", "Found"),
    ],
)
async def test_given_a_redirect_when_fetched_then_the_body_is_a_small_page(
    world: World, method: str, target: str, status: int, location: str, phrase: str
) -> None:
    answer = await world.call(method, target)

    page = f'<a href="{location}">{phrase}</a>.\n\n'.encode()
    assert (answer.status, answer.body) == (status, page)
    assert answer.headers == {
        "location": location,
        "content-type": "text/html; charset=utf-8",
        "content-length": str(len(page)),
    }


async def test_given_a_redirect_when_only_its_head_is_asked_for_then_there_is_no_body(world: World) -> None:
    answer = await world.call("HEAD", "/ui")

    assert (answer.status, answer.headers["location"], answer.body) == (307, "/ui/", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_given_upstream_without_a_slash_when_posted_to_then_the_redirect_has_neither_body_nor_type(
    world: World, method: str
) -> None:
    answer = await world.call(method, "/upstream?q=1")

    assert (answer.status, answer.body) == (307, b"")
    assert answer.headers == {"location": "/upstream/?q=1", "content-length": "0"}


# --- preflights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/anything", "/v1/chat/completions", "/upstream/m1/x", "//x", "*", "/health"]
)
async def test_given_any_path_when_preflighted_then_the_answer_is_always_yes(world: World, path: str) -> None:
    answer = await world.call("OPTIONS", path)

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        "access-control-max-age": "86400",
        "access-control-allow-headers": "Content-Type, Authorization, Accept, X-Requested-With",
    }
    assert not world.asked


@pytest.mark.parametrize(
    ("requested", "allowed"),
    [
        ("X-Custom , Bad Header, Accept", "X-Custom, Accept"),
        ("x", "x"),
        ("", ""),
        (" , ,", ""),
        ("ok, <script>, a\x00b, caf\xe9", "ok"),
    ],
)
async def test_given_a_list_of_headers_when_preflighted_then_only_names_come_back(
    world: World, requested: str, allowed: str
) -> None:
    answer = await world.call("OPTIONS", "/x", {"Access-Control-Request-Headers": requested})

    assert answer.headers["access-control-allow-headers"] == allowed


# --- HEAD ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/health", "/v1/models", "/running", "/api/version", "/logs", "/ui/", "/wol-health", "/models"],
)
async def test_given_a_get_route_when_its_head_is_asked_for_then_only_the_body_is_missing(
    world: World, path: str
) -> None:
    world.logs.proxy.set_level(Level.WARN)  # the two requests must not see each other in the log

    full, head = await world.get(path), await world.call("HEAD", path)

    assert (head.status, head.raw_headers, head.body) == (full.status, full.raw_headers, b"")
    assert int(head.headers["content-length"]) == len(full.body)
