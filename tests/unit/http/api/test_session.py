"""Signing in with a key: the session, its cookie, and what ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swapd.config import ApiKey
from swapd.http import auth as auth_module
from swapd.http.auth import Authentication, caller_of
from swapd.http.credentials import shown_session
from swapd.http.record import RECORD, RequestRecord
from swapd.http.sessions import LIFETIME_S, Sessions
from tests.unit.http.api.world import CONFIG, Answer, World, build_world, scope_of

KEYS = """
apiKeys:
  - {key: admin-key, name: root, admin: true}
  - {key: guest-key, name: guest, models: ["m*"]}
"""
OPEN = {"required": False, "authenticated": True, "name": None, "admin": True, "models": None}
NOBODY = {"required": True, "authenticated": False, "name": None, "admin": False, "models": None}
ROOT = {"required": True, "authenticated": True, "name": "root", "admin": True, "models": None}
GUEST = {"required": True, "authenticated": True, "name": "guest", "admin": False, "models": ["m*"]}


@pytest.fixture
def guarded() -> World:
    return build_world(KEYS + CONFIG)


async def sign_in(world: World, body: Any, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answered = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    await world.app(scope_of("POST", "/api/session", headers, **more), receive, answered.take)
    return answered


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"Cookie": "theme=dark; " + answer.headers["set-cookie"].partition(";")[0]}


def attributes_of(answer: Answer) -> set[str]:
    return {item.strip().lower() for item in answer.headers["set-cookie"].split(";")[1:]}


async def test_given_no_keys_when_asked_then_nobody_has_to_sign_in(world: World) -> None:
    shown, signed_in = await world.get("/api/session"), await sign_in(world, {"key": "any"})

    assert json.loads(shown.body) == json.loads(signed_in.body) == OPEN
    assert "set-cookie" not in signed_in.headers


@pytest.mark.parametrize(("key", "expected"), [("admin-key", ROOT), ("guest-key", GUEST)])
async def test_given_a_key_when_somebody_signs_in_then_the_cookie_stands_for_it(
    guarded: World, key: str, expected: dict[str, Any]
) -> None:
    assert json.loads((await guarded.get("/api/session")).body) == NOBODY

    answer = await sign_in(guarded, {"key": key})

    assert (answer.status, json.loads(answer.body)) == (200, expected)
    assert answer.headers["cache-control"] == "no-store"
    assert key not in answer.headers["set-cookie"]
    assert json.loads((await guarded.get("/api/session", cookie_of(answer))).body) == expected
    assert json.loads((await guarded.get("/api/session", {"x-api-key": key})).body) == expected
    assert (await guarded.get("/running", cookie_of(answer))).status == 200
    assert (await guarded.get("/logs", cookie_of(answer))).status == (200 if expected["admin"] else 403)


@pytest.mark.parametrize(
    ("remember", "headers", "more", "attributes"),
    [
        (False, {}, {}, set()),
        (None, {}, {}, set()),
        (True, {}, {}, {"max-age=2592000"}),
        (False, {}, {"scheme": "https"}, {"secure"}),
        (False, {"X-Forwarded-Proto": "https"}, {}, {"secure"}),
    ],
)
async def test_given_a_way_to_sign_in_then_the_cookie_lasts_and_travels_accordingly(
    guarded: World,
    remember: bool | None,
    headers: dict[str, str],
    more: dict[str, Any],
    attributes: set[str],
) -> None:
    answer = await sign_in(guarded, {"key": "admin-key", "remember": remember}, headers, **more)

    assert attributes_of(answer) == {"httponly", "samesite=strict", "path=/"} | attributes


async def test_given_a_wrong_key_when_somebody_signs_in_then_it_is_refused_without_a_challenge(
    guarded: World,
) -> None:
    answer = await sign_in(guarded, {"key": "wrong"})

    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (401, "unauthorized")
    assert not {"www-authenticate", "set-cookie"} & set(answer.headers)


async def test_given_several_wrong_keys_when_somebody_signs_in_again_then_the_answer_waits(
    guarded: World, autojump_clock: Any
) -> None:
    for _ in range(auth_module.PATIENCE):
        await sign_in(guarded, {"key": "wrong"})
    assert autojump_clock.current_time() == 0

    await sign_in(guarded, {"key": "wrong"})
    await guarded.get("/api/session", {"x-api-key": "wrong"})

    assert autojump_clock.current_time() == pytest.approx(2 * auth_module.DELAY_S)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"key": 1}', b'{"key": "x", "remember": "y"}', b"\xff"]
)
async def test_given_a_body_that_is_no_sign_in_then_it_says_what_is_expected(
    guarded: World, body: bytes
) -> None:
    answer = await sign_in(guarded, body)

    assert answer.status == 400
    assert 'expected {"key": "…"}' in json.loads(answer.body)["error"]["message"]


async def test_given_a_session_when_signed_out_then_its_cookie_is_good_for_nothing(guarded: World) -> None:
    cookie = cookie_of(await sign_in(guarded, {"key": "admin-key"}))

    answer = await guarded.call("DELETE", "/api/session", cookie)

    assert (answer.status, answer.body) == (204, b"")
    assert "max-age=0" in attributes_of(answer)
    assert (await guarded.get("/running", cookie)).status == 401
    assert (await guarded.call("DELETE", "/api/session")).status == 204


async def test_given_a_session_when_a_key_is_shown_too_then_the_key_counts(guarded: World) -> None:
    cookie = cookie_of(await sign_in(guarded, {"key": "admin-key"}))

    assert (await guarded.get("/running", {**cookie, "x-api-key": "wrong"})).status == 401
    limited = await guarded.get("/api/session", {**cookie, "x-api-key": "guest-key"})
    assert json.loads(limited.body) == GUEST


async def test_given_a_session_when_signed_in_anew_then_the_old_one_ends(guarded: World) -> None:
    old = cookie_of(await sign_in(guarded, {"key": "admin-key"}))

    new = cookie_of(await sign_in(guarded, {"key": "guest-key"}, old))

    assert (await guarded.get("/running", old)).status == 401
    assert (await guarded.get("/running", new)).status == 200


# --- the state behind it ------------------------------------------------------------------------------


def scope(token: str) -> dict[str, Any]:
    made = scope_of("GET", "/", {"cookie": f"swapd_session={token}"})
    return {**made, RECORD: RequestRecord()}


def test_given_a_session_when_its_key_changes_or_goes_then_it_follows() -> None:
    keys: list[tuple[ApiKey, ...]] = [(ApiKey("one", "first"), ApiKey("two", "second", admin=False))]
    auth = Authentication(lambda: keys[-1])
    begun = auth.sign_in(scope(""), "two")
    assert begun is not None
    asked = scope(begun[1])

    keys.append((ApiKey("two", "second", admin=True),))
    assert auth.admits(asked)
    assert caller_of(asked).is_admin

    keys.append((ApiKey("one", "first"),))
    assert not auth.admits(asked)
    keys.append((ApiKey("two", "second"),))
    assert not auth.admits(asked)


def test_given_sessions_when_time_passes_or_there_are_too_many_then_they_end() -> None:
    time = [0.0]
    sessions = Sessions(lambda: time[0])
    first = sessions.begin(b"key").encode()
    time[0] = LIFETIME_S - 1
    assert sessions.key_digest(first) == b"key"
    time[0] = LIFETIME_S
    assert sessions.key_digest(first) is None

    oldest, *others = (sessions.begin(b"key").encode() for _ in range(1025))
    assert sessions.key_digest(oldest) is None
    assert all(sessions.key_digest(token) == b"key" for token in others)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([(b"cookie", b"a=b")], None),
        ([(b"cookie", b"x_swapd_session=1; a=swapd_session=2")], None),
        ([(b"cookie", b"a=b;swapd_session=1; swapd_session=2")], b"1"),
        ([(b"cookie", b"a=b"), (b"cookie", b"swapd_session=1")], b"1"),
        ([(b"cookie", b"swapd_session=1"), (b"authorization", b"Bearer x")], None),
        ([(b"cookie", b"swapd_session=1"), (b"authorization", b"Digest x")], b"1"),
    ],
)
def test_given_headers_then_the_session_counts_where_no_key_is_shown(headers: Any, token: Any) -> None:
    assert shown_session(headers) == token
