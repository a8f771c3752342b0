"""Reading responses: framing, interim responses, ends of all kinds, and what is not HTTP."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapd.http.upstream.errors import BadResponse, ConnectionLost
from swapd.http.upstream.parser import MAX_HEAD_BYTES, ResponseParser


def read(*data: bytes, expects_body: bool = True) -> ResponseParser:
    parser = ResponseParser()
    parser.begin(expects_body=expects_body)
    for piece in data:
        parser.feed(piece)
    return parser


RESPONSES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "empty": (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, b""),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        200,
        b"hello",
    ),
    "204 with a length that means nothing": (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", 204, b""),
    "304 with the length of what is not sent": (b"HTTP/1.1 304 Not\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "interim responses first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        200,
        b"hello",
    ),
    "HTTP/1.0 with keep-alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        200,
        b"hello",
    ),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_given_a_response_when_read_then_status_body_and_end_are_known(name: str) -> None:
    data, status, body = RESPONSES[name]
    parser = read(data)
    assert (parser.status, parser.take(), parser.ended, parser.keep_alive) == (status, body, True, True)


@given(st.sampled_from(sorted(RESPONSES)), st.lists(st.integers(0, 200), max_size=12))
def test_given_any_cut_when_read_piecewise_then_the_result_is_the_same(name: str, cuts: list[int]) -> None:
    data, status, body = RESPONSES[name]
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds) if end > start]

    parser = read(*pieces)

    assert (parser.status, parser.take(), parser.ended, parser.keep_alive) == (status, body, True, True)
    assert parser.reason == read(data).reason
    assert parser.headers == read(data).headers


def test_given_headers_when_read_then_names_are_lower_case_and_repeats_are_kept_in_order() -> None:
    parser = read(
        b"HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n"
    )
    assert parser.reason == b"Fine"
    assert parser.headers == [
        (b"set-cookie", b"a"),
        (b"x-b", b"1"),
        (b"set-cookie", b"b"),
        (b"content-length", b"0"),
    ]


def test_given_trailers_when_read_then_they_are_apart_from_the_headers() -> None:
    parser = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"
        b"1\r\nx\r\n0\r\nA: 1\r\nB: 2\r\n\r\n"
    )
    assert parser.ended
    assert parser.trailers == [(b"a", b"1"), (b"b", b"2")]
    assert parser.headers == [(b"transfer-encoding", b"chunked"), (b"trailer", b"A")]


def test_given_one_response_when_the_next_begins_then_nothing_of_the_first_is_left() -> None:
    parser = read(b"HTTP/1.1 201 A\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: 1\r\n\r\n")
    first = (parser.headers, parser.trailers)
    parser.begin(expects_body=True)
    parser.feed(b"HTTP/1.1 202 B\r\nContent-Length: 1\r\n\r\ny")
    assert (parser.status, parser.reason, parser.trailers, parser.take()) == (202, b"B", [], b"y")
    assert first == ([(b"transfer-encoding", b"chunked")], [(b"t", b"1")])


def test_given_a_head_request_when_a_length_is_announced_then_there_is_no_body_to_wait_for() -> None:
    parser = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", expects_body=False)
    assert (parser.ended, parser.keep_alive) == (True, True)
    parser.begin(expects_body=True)
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert (parser.ended, parser.take()) == (True, b"hello")


def test_given_a_head_request_when_a_body_comes_all_the_same_then_the_connection_is_overrun() -> None:
    parser = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", expects_body=False)
    assert (parser.ended, parser.overrun, parser.take()) == (True, True, b"")


@pytest.mark.parametrize("more", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz"])
@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
def test_given_more_than_one_response_when_read_then_only_the_first_counts(
    more: bytes, connection: bytes
) -> None:
    parser = read(b"HTTP/1.1 200 OK\r\n" + connection + b"Content-Length: 2\r\n\r\nok" + more)
    assert (parser.ended, parser.overrun, parser.take(), parser.status) == (True, True, b"ok", 200)
    assert parser.trailers == []


def test_given_connection_close_when_read_then_it_is_not_to_be_kept() -> None:
    parser = read(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert (parser.ended, parser.keep_alive) == (True, False)


def test_given_no_length_when_the_upstream_closes_then_that_is_the_end() -> None:
    parser = read(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
    assert not parser.ended
    parser.end_of_stream()
    assert (parser.ended, parser.take(), parser.keep_alive) == (True, b"hello", False)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "before its response"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "before its response was complete"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "before its response was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "in the middle"),
    ],
)
def test_given_half_a_response_when_the_upstream_closes_then_it_is_lost(data: bytes, text: str) -> None:
    parser = read(*([data] if data else []))
    with pytest.raises(ConnectionLost, match=text):
        parser.end_of_stream()
    assert parser.heard == bool(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02 garbage",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\x00Y: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
    ],
)
def test_given_what_is_no_http_response_when_read_then_it_is_refused(data: bytes) -> None:
    with pytest.raises(BadResponse):
        read(data)


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: 0123456789\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"0123456789"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
            b"X-Trailer: 0123456789\r\n",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"extension"),
    ],
)
def test_given_an_endless_head_when_read_then_it_is_cut_off(start: bytes, endless: bytes) -> None:
    parser = read(*([start] if start else []))
    parser.take()
    with pytest.raises(BadResponse, match="bytes of headers"):
        for _ in range(2 * MAX_HEAD_BYTES // len(endless)):
            parser.feed(endless)


def test_given_a_long_stream_of_tiny_chunks_when_read_then_nothing_is_cut_off() -> None:
    parser = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(2 * MAX_HEAD_BYTES // 6):
        parser.feed(b"1\r\nx\r\n")
        assert parser.take() == b"x"
