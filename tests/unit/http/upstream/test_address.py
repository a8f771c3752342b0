"""Base URLs and what requests become below them."""

from __future__ import annotations

import pytest

from swapd.http.upstream import BaseURL, UnsupportedURL


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("http://localhost:5800", "localhost", 5800, b"localhost:5800"),
        ("http://127.0.0.1", "127.0.0.1", 80, b"127.0.0.1"),
        ("http://[::1]:8080/", "::1", 8080, b"[::1]:8080"),
        ("HTTP://GPU.lan:1/v1", "gpu.lan", 1, b"gpu.lan:1"),
        ("http://user:secret@box:9/", "box", 9, b"box:9"),
        ("http://bücher.example/", "bücher.example", 80, b"xn--bcher-kva.example"),
    ],
)
def test_given_a_url_when_parsed_then_host_port_and_authority_are_known(
    url: str, host: str, port: int, authority: bytes
) -> None:
    base = BaseURL.parse(url)
    assert (base.host, base.port, base.authority) == (host, port, authority)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:5800", "https://x:1", "ftp://x", "http://", "http://:5", "http://x:99999", "http://[::1"],
)
def test_given_anything_else_when_parsed_then_it_is_refused_with_the_reason(url: str) -> None:
    with pytest.raises(UnsupportedURL, match=r"http|URL|host"):
        BaseURL.parse(url)


@pytest.mark.parametrize(
    ("url", "path", "query", "target"),
    [
        ("http://h", b"/v1/x", b"", b"/v1/x"),
        ("http://h/", b"/v1/x", b"a=1", b"/v1/x?a=1"),
        ("http://h/base", b"/v1/x", b"", b"/base/v1/x"),
        ("http://h/base/", b"/v1/x", b"", b"/base/v1/x"),
        ("http://h/base/", b"/", b"", b"/base/"),
        ("http://h/base?key=1", b"/x", b"", b"/base/x?key=1"),
        ("http://h/base?key=1", b"/x", b"a=%20b", b"/base/x?key=1&a=%20b"),
        ("http://h/a%2Fb", b"/x%2Fy", b"", b"/a%2Fb/x%2Fy"),
        ("http://h/a b", b"/x", b"", b"/a%20b/x"),
    ],
)
def test_given_a_base_when_a_request_is_addressed_then_paths_and_queries_are_joined(
    url: str, path: bytes, query: bytes, target: bytes
) -> None:
    assert BaseURL.parse(url).target(path, query) == target
