"""Which model a path below /upstream/ addresses, and what is left for its server."""

from __future__ import annotations

import pytest

from swapd.http.proxy.passthrough import address, decoded

NAMES = {
    "m1": "m1",
    "nick": "m1",
    "a": "a",
    "a/b": "a/b",
    "a/b/c d": "deep",
    "größe": "size",
    "100%": "percent",
}


@pytest.mark.parametrize(
    ("path", "model", "rest"),
    [
        (b"/upstream/m1/", "m1", b"/"),
        (b"/upstream/m1/props", "m1", b"/props"),
        (b"/upstream/nick/v1/x", "m1", b"/v1/x"),
        (b"/upstream/m1/api/x%2Fy", "m1", b"/api/x%2Fy"),
        (b"/upstream/m1/%252F", "m1", b"/%252F"),
        (b"/upstream/m1/a%20b%zz", "m1", b"/a%20b%zz"),
        (b"/upstream/a/x", "a", b"/x"),
        (b"/upstream/a/b/x%2Fy", "a/b", b"/x%2Fy"),
        (b"/upstream/a%2Fb/x%2fy", "a/b", b"/x%2fy"),
        (b"/upstream/a%2fb", "a/b", b""),
        (b"/upstream/a/b/c%20d/e", "deep", b"/e"),
        (b"/upstream/a/b/c", "a/b", b"/c"),
        (b"/upstream/m1%2Fx", "m1", b"/x"),
        (b"/upstream/%6D1/x", "m1", b"/x"),
        (b"/upstream/gr%C3%B6%C3%9Fe/", "size", b"/"),
        (b"/upstream/100%25/", "percent", b"/"),
        (b"/upstream/%2Fm1/x", "m1", b"/x"),
    ],
)
def test_given_a_path_when_taken_apart_then_the_longest_name_wins_and_escapes_survive(
    path: bytes, model: str, rest: bytes
) -> None:
    addressed = address(path, NAMES.get)
    assert addressed is not None
    assert (addressed.target, addressed.path, addressed.needs_redirect) == (model, rest, rest == b"")


@pytest.mark.parametrize(
    "path",
    [
        b"/upstream/",
        b"/upstream/nope",
        b"/upstream/nope/m1",
        b"/upstream/M1/",
        b"/upstream/m1%252Fx",
        b"/upstream/%ff",
    ],
)
def test_given_no_known_name_when_taken_apart_then_there_is_no_model(path: bytes) -> None:
    assert address(path, NAMES.get) is None


@pytest.mark.parametrize(
    ("path", "root"),
    [
        (b"/upstream/m1", b"/upstream/m1/"),
        (b"/upstream/a%2Fb", b"/upstream/a/b/"),
        (b"/upstream/a/b/c%20d", b"/upstream/a/b/c%20d/"),
        (b"/upstream/gr%C3%B6%C3%9Fe", b"/upstream/gr%C3%B6%C3%9Fe/"),
        (b"/upstream/100%25", b"/upstream/100%25/"),
    ],
)
def test_given_a_bare_model_when_redirected_then_the_name_as_written_is_escaped(
    path: bytes, root: bytes
) -> None:
    addressed = address(path, NAMES.get)
    assert addressed is not None
    assert addressed.needs_redirect
    assert addressed.root == root


def test_given_a_very_long_path_when_taken_apart_then_the_search_is_bounded() -> None:
    asked = 0

    def resolve(name: str) -> str | None:
        nonlocal asked
        asked += 1
        return NAMES.get(name)

    assert address(b"/upstream/" + b"x/" * 30_000, resolve) is None
    assert asked <= 64


def test_given_an_escaped_path_when_decoded_then_bad_utf8_is_replaced() -> None:
    assert (decoded(b"/a%20b/%C3%A4"), decoded(b"/%ff")) == ("/a b/ä", "/�")
