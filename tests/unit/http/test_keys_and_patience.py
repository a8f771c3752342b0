"""Who a caller is, what a limited key may use, and how long wrong keys have to wait."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from swapd.config import ApiKey, Config, loads
from swapd.http.auth import (
    ANYBODY,
    DELAY_S,
    PATIENCE,
    Authentication,
    Caller,
    caller_of,
    refuse,
    require_admin,
)
from swapd.http.credentials import without_own_keys
from swapd.http.errors import Rejected
from swapd.http.record import RECORD, RequestRecord

KEYS = (ApiKey("one", "first"), ApiKey("two", "guest", ("m*", "nick", "p/x"), admin=False))

CONFIG = """
models:
  m1: {cmd: serve m1, proxy: "http://127.0.0.1:9"}
  "odd[1]": {cmd: serve odd, proxy: "http://127.0.0.1:9", aliases: [nick]}
  odd1: {cmd: serve odd1, proxy: "http://127.0.0.1:9"}
peers:
  p: {proxy: "http://127.0.0.1:9", models: [x, y]}
"""


def config() -> Config:
    loaded = loads(CONFIG).config
    assert loaded is not None
    return loaded


def scope(key: str | None, address: str = "192.0.2.1") -> dict[str, Any]:
    headers = [] if key is None else [(b"x-api-key", key.encode())]
    return {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": headers,
        "client": (address, 1),
        RECORD: RequestRecord(),
    }


def test_given_a_key_when_admitted_then_the_scope_says_whose_it_is() -> None:
    auth = Authentication(lambda: KEYS)
    asked = scope("two")
    assert auth.admits(asked)
    assert (caller_of(asked).name, caller_of(asked).is_admin) == ("guest", False)
    with pytest.raises(Rejected) as refused:
        require_admin(asked)
    assert refused.value.answer.code == "admin_required"
    asked = scope("one")
    assert auth.admits(asked)
    require_admin(asked)


def test_given_no_keys_when_asked_then_anybody_may_do_everything() -> None:
    asked = scope(None)
    assert Authentication(lambda: ()).admits(asked)
    assert caller_of(asked) == ANYBODY
    require_admin(asked)
    assert ANYBODY.may_use("anything", config())


@pytest.mark.parametrize(
    ("model", "may"),
    [("m1", True), ("odd[1]", True), ("odd1", False), ("p/x", True), ("p/y", False), ("M1", False)],
)
def test_given_a_limited_key_when_it_names_patterns_and_aliases_then_they_resolve(
    model: str, may: bool
) -> None:
    assert Caller(KEYS[1]).may_use(model, config()) is may


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([(b"authorization", b"Bearer one")], []),
        ([(b"authorization", b"bearer one")], []),
        ([(b"authorization", b"Basic eDpvbmU=")], []),  # x:one
        (
            [(b"x-api-key", b"two"), (b"authorization", b"Bearer other")],
            [(b"authorization", b"Bearer other")],
        ),
        ([(b"authorization", b"Digest one")], [(b"authorization", b"Digest one")]),
        ([(b"authorization", b"Basic !!")], [(b"authorization", b"Basic !!")]),
        ([(b"cookie", b"swapd_session=1")], []),
        ([(b"cookie", b"a=swapd_session; swapd_session=1")], [(b"cookie", b"a=swapd_session")]),
        ([(b"cookie", b"a=1;b=2")], [(b"cookie", b"a=1;b=2")]),
    ],
)
def test_given_headers_when_forwarded_then_only_our_own_keys_are_missing(headers: Any, kept: Any) -> None:
    assert without_own_keys(headers, {b"one", b"two"}) == kept


async def test_given_many_wrong_keys_when_more_come_then_they_wait(autojump_clock: MockClock) -> None:
    auth = Authentication(lambda: KEYS)

    async def wait(key: str | None, address: str = "192.0.2.1") -> float:
        asked = scope(key, address)
        assert not auth.admits(asked)
        began = trio.current_time()

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()

        await refuse(asked, send)
        return trio.current_time() - began

    assert [await wait("wrong") for _ in range(PATIENCE)] == [0.0] * PATIENCE
    assert await wait("wrong") == DELAY_S
    assert await wait("wrong", "192.0.2.2") == 0.0
    assert await wait(None) == 0.0
    assert auth.admits(scope("one"))
    assert await wait("wrong") == 0.0
