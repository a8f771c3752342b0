"""swapd below a path of a reverse proxy: where its redirects and its cookie lead."""

from __future__ import annotations

import pytest

from swapd.http.prefix import BelowPath, NotAPrefix, parse_prefix
from tests.unit.http.api.world import Answer, World, no_body, scope_of


async def ask(world: World, method: str, target: str, prefix: str = "", **headers: str) -> Answer:
    """What the application answers, started with `--base-path prefix` if there is one."""
    answer = Answer()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    app = BelowPath(world.app, prefix) if prefix else world.app
    await app(scope_of(method, target, named), no_body, answer.take)
    return answer


@pytest.mark.parametrize(
    ("text", "prefix"), [("/llm", "/llm"), ("/x/y/", "/x/y"), ("/", ""), ("", ""), ("/~me/a.b", "/~me/a.b")]
)
def test_given_a_path_when_read_then_it_has_no_slash_at_its_end(text: str, prefix: str) -> None:
    assert parse_prefix(text) == prefix


@pytest.mark.parametrize(
    "text", ["llm", "//host/x", "/a//b", "/a/../b", "/a b", "/a?b", "/a\r\nb", "http://x/y"]
)
def test_given_what_is_no_path_when_read_then_it_is_refused(text: str) -> None:
    with pytest.raises(NotAPrefix, match="write it like /llm"):
        parse_prefix(text)


@pytest.mark.parametrize("text", ["/ui", "/v1/llm", "/api"])
def test_given_a_path_of_our_own_when_read_then_it_is_refused(text: str) -> None:
    with pytest.raises(NotAPrefix, match="swapd's own paths"):
        parse_prefix(text)


@pytest.mark.parametrize("seen", ["", "/x/y"])
@pytest.mark.parametrize(
    ("path", "target"),
    [("/", "/ui"), ("/ui", "/ui/"), ("/upstream", "/ui/models"), ("/ui/models", "/ui/#/models")],
)
async def test_given_a_base_path_when_redirected_then_the_target_is_below_it_stripped_or_not(
    world: World, seen: str, path: str, target: str
) -> None:
    answer = await ask(world, "GET", seen + path, "/x/y")

    assert answer.headers["location"] == f"/x/y{target}"


async def test_given_a_base_path_when_asked_without_a_slash_then_it_is_the_root(world: World) -> None:
    assert (await ask(world, "GET", "/x/y", "/x/y")).headers["location"] == "/x/y/ui"
    assert (await ask(world, "GET", "/x/yes", "/x/y")).status == 404


async def test_given_a_model_route_below_the_base_path_when_asked_then_it_answers(world: World) -> None:
    below = await ask(world, "GET", "/x/y/v1/models", "/x/y")
    plain = await ask(world, "GET", "/v1/models", "/x/y")

    assert (below.status, below.body) == (200, plain.body)


@pytest.mark.parametrize(
    ("peer", "said", "location"),
    [
        ("127.0.0.1", "/llm", "/llm/ui"),
        ("127.0.0.1", "/llm/", "/llm/ui"),
        ("127.0.0.1", "//evil.example", "/ui"),
        ("192.0.2.7", "/llm", "/ui"),
    ],
)
async def test_given_a_forwarded_prefix_when_redirected_then_only_a_trusted_proxy_is_believed(
    world: World, peer: str, said: str, location: str
) -> None:
    answer = Answer()

    await world.app(
        scope_of("GET", "/", {"x-forwarded-prefix": said}, client=(peer, 1)), no_body, answer.take
    )

    assert answer.headers["location"] == location


async def test_given_a_prefix_when_signed_out_then_the_cookie_that_goes_is_that_of_what_is_below_it(
    world: World,
) -> None:
    answer = await ask(world, "DELETE", "/x/y/api/session", "/x/y")

    assert "Path=/x/y/;" in answer.headers["set-cookie"]
