"""Base URLs: what a URL parser refuses, what it takes although no server can be reached that way."""

from __future__ import annotations

import pytest

from swapd.config import loads
from swapd.config.urls import url_error, url_oddity

REFUSED = [
    "://x",
    ":80",
    "127.0.0.1:80",
    "1http://x",
    "http://h:abc",
    "http://h:-1",
    "http://[::1",
    "http://h h",
    "http://u ser@h",
    "http://%zz",
    "http://h/%",
    "http://h/%zz",
    "http://h\n",
    "http://h/\x7f",
    "192.168.1.20:8080/v1",
]
ODD = [
    "localhost:8080",
    "foo",
    "/x",
    "unix:///s",
    "http://",
    "http:///path",
    "http://:80",
    "ftp://h",
    "http://h:65536",
    "http://h:99999",
    "",
]
FINE = [
    "http://h",
    "https://h",
    "HTTP://H",
    "http://h:80",
    "http://h:65535",
    "http://h:",
    "http://h/a b",
    "http://h/base/path",
    "http://user:pass@h:1/x?y=z#f",
    "http://[::1]:8080",
    "http://[fe80::1%25eth0]:1",
    "http://127.0.0.1:5800",
    "http://bücher.example",
    "http://h/%20",
]


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_no_url_is_refused(url: str) -> None:
    assert url_error(url)


@pytest.mark.parametrize("url", [*ODD, *FINE])
def test_what_is_a_url_is_not_refused(url: str) -> None:
    assert url_error(url) == ""


@pytest.mark.parametrize("url", ODD)
def test_what_cannot_be_reached_is_odd(url: str) -> None:
    reason, _ = url_oddity(url)
    assert reason


@pytest.mark.parametrize("url", FINE)
def test_what_can_be_reached_is_not_odd(url: str) -> None:
    assert url_oddity(url) == ("", "")


@pytest.mark.parametrize(
    ("url", "better"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("nas", "http://nas"),
        ("192.168.1.2:80", "http://192.168.1.2:80"),
    ],
)
def test_a_forgotten_scheme_is_suggested(url: str, better: str) -> None:
    loaded = loads(f"models: {{owl: {{cmd: s, proxy: '{url}'}}}}", environ={})
    (problem,) = loaded.problems
    assert problem.code in ("proxy-url", "proxy-odd")
    assert better in problem.hint


def test_an_empty_proxy_is_kept() -> None:
    loaded = loads("models: {owl: {cmd: s, proxy: ''}}", environ={})
    assert loaded.config is not None
    assert loaded.config.models["owl"].proxy == ""
