"""How the fake upstream reads HTTP/1.1, however it is cut into pieces."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapd.testing.upstream.wire import Request, RequestReader, WireError

LENGTH = b"POST /a?x=1&y= HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: 1\r\n\r\n"
)


def read_all(pieces: list[bytes]) -> list[Request]:
    reader, requests = RequestReader(), []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next_request()) is not None:
            requests.append(request)
    return requests


@given(st.lists(st.integers(1, len(LENGTH + CHUNKED + LENGTH)), max_size=12))
def test_requests_are_the_same_however_they_arrive(cuts: list[int]) -> None:
    stream = LENGTH + CHUNKED + LENGTH
    edges = [0, *sorted(set(cuts)), len(stream)]
    requests = read_all([stream[a:b] for a, b in pairwise(edges)])
    assert [request.path for request in requests] == ["/a", "/b", "/a"]
    assert {bytes(request.body) for request in requests} == {b"hello"}
    assert {request.body_sha256 for request in requests} == {sha256(b"hello").hexdigest()}


def test_a_head_is_taken_apart() -> None:
    (request,) = read_all([LENGTH])
    assert (request.method, request.target, request.query) == ("POST", "/a?x=1&y=", {"x": "1", "y": ""})
    assert request.header("content-length") == "5"
    assert request.keep_alive


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_keep_alive(head: bytes, keep_alive: bool) -> None:
    (request,) = read_all([head + b"\r\n"])
    assert request.keep_alive is keep_alive


def test_given_expect_when_the_body_is_still_to_come_then_the_client_is_told_to_go_on() -> None:
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert reader.next_request() is None
    assert reader.interim == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    "stream",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"x" * 300_000,
    ],
)
def test_what_breaks_the_protocol_is_refused(stream: bytes) -> None:
    with pytest.raises(WireError):
        read_all([stream])
