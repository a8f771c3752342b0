"""Requests that were made to be misread.

h11 is the second opinion. Wherever both it and our parser read a request, they have to read the same one, or
else somebody in front of us or behind us could be made to see another request than we do.
"""

from __future__ import annotations

from itertools import pairwise

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swapd.http.server.parser import MAX_FIELDS, MAX_PIPELINED, RequestParser
from swapd.http.upstream.errors import BadResponse, ConnectionLost
from swapd.http.upstream.parser import ResponseParser

LIMIT = 16 * 1024
SHORT = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Read = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]
"""Method, target, fields and body of a request."""

TARGETS = [b"/", b"/v1/chat/completions?a=%2F", b"*", b"http://h/x", b"h:80", b"/\xff", b"/a b", b"/\t", b""]
LINES = [
    *(b"Host: h", b"Host:h", b"host: h2", b"Host : h", b" Host: h", b"Host"),
    *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 05", b"Content-Length: +5"),
    *(b"Content-Length: 5, 5", b"Content-Length: 5,6", b"Content-Length: -1", b"Content-Length:"),
    *(b"Content-Length: 0x5", b"Content-Length: 99999999999999999999", b"content-length:5 "),
    *(b"Content-Length: 5\t", b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: gzip, chunked"),
    *(b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Transfer-Encoding: xchunked"),
    *(b"Transfer-Encoding: identity", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding : chunked"),
    *(b'Transfer-Encoding: "chunked"', b"Connection: close", b"Connection: keep-alive"),
    *(b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket", b"Expect: 100-continue"),
    *(b"X: \xe4\x00", b"X: a\rb", b"X: a", b"X:", b": x", b"X: a\r\n b", b"X\x00: a", b"\xc3\xa4: x"),
    b"X: a\nTransfer-Encoding: chunked",
]
STATUS_LINES = [
    *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200", b"HTTP/1.1 204 No", b"HTTP/1.1 100 C", b"HTTP/1.1 101 S"),
]
METHODS = [b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"get", b"\xff"]
VERSIONS = [*[b"HTTP/1.1"] * 5, b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 "]
BODIES = [
    *(b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"00\r\n\r\n"),
    *(b"5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n", b"5;\n\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n"),
    *(b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n"),
    *(b"fffffffffffffffff\r\nx", b"5\r\nhelloX\r\n0\r\n\r\n", b"0\r\nContent-Length: 9\r\n\r\n"),
    b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
]


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """A few requests, one behind the other, of sound and unsound parts, with some bytes changed."""
    wire = b""
    for _ in range(draw(st.integers(1, 3))):
        method = draw(st.sampled_from(METHODS))
        version = draw(st.sampled_from(VERSIONS))
        target = draw(st.just(b"/") | st.sampled_from(TARGETS))
        fields = [b"Host: h"] * draw(st.integers(0, 5).map(bool))
        fields += draw(st.lists(st.sampled_from(LINES), max_size=4))
        end = draw(st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r"]))
        wire += b" ".join((method, target, version)) + end + end.join([*fields, b"", b""])
        wire += draw(st.sampled_from(BODIES))
    data = bytearray(wire)
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=2)):
        if place < len(data):
            data[place] = byte
    return bytes(data)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds) if end > start]


def ours(pieces: list[bytes]) -> tuple[RequestParser, list[Read]]:
    parser = RequestParser(LIMIT)
    for piece in pieces:
        parser.feed(piece)
    whole = [request for request in parser.requests if request.complete]
    return parser, [
        (each.method.encode(), each.target, plain(each.headers), b"".join(each.chunks)) for each in whole
    ]


def theirs(data: bytes) -> list[Read]:
    """What h11 reads, up to the first thing it cannot."""
    found: list[Read] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                found.append((request.method, request.target, plain(list(request.headers)), body))
                if connection.their_state is not h11.DONE:
                    return found
                status, fields = 204, [("connection", "keep-alive")]
                connection.send(h11.Response(status_code=status, headers=fields))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return found


def plain(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without what an upgrade that is not taken leaves out."""
    left_out = (b"upgrade", b"connection", b"http2-settings")
    pairs = [(bytes(name).lower(), bytes(value).strip()) for name, value in headers]
    return [pair for pair in pairs if pair[0] not in left_out]


@SHORT
@given(odd_requests() | st.binary(max_size=200), st.lists(st.integers(0, 500), max_size=8))
def test_odd_requests_are_read_alike_however_they_are_cut(data: bytes, places: list[int]) -> None:
    # Given anything
    # When it arrives at once, and in pieces
    whole, read_at_once = ours([data])
    pieced, read_in_pieces = ours(cut(data, places))
    # Then the same is read in it, and no more than may be
    assert read_at_once == read_in_pieces
    assert (whole.failed is None) == (pieced.failed is None)
    if whole.failed is not None and pieced.failed is not None:
        assert whole.failed.status == pieced.failed.status
        assert 400 <= whole.failed.status <= 505
    assert len(whole.requests) <= MAX_PIPELINED
    assert all(len(request.headers) <= MAX_FIELDS for request in whole.requests)


@SHORT
@given(odd_requests())
def test_what_two_parsers_read_is_the_same(data: bytes) -> None:
    # Given requests made to be misread
    # When both read them
    parser, read = ours([data])
    told = theirs(data)
    # Then they agree on all that both have read
    if parser.beyond is None:
        for mine, second in zip(read, told, strict=False):
            assert mine == second


@SHORT
@given(
    st.sampled_from(STATUS_LINES),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from(BODIES),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_odd_responses_are_read_alike_however_they_are_cut(
    line: bytes, fields: list[bytes], body: bytes, changes: list[tuple[int, int]], places: list[int]
) -> None:
    data = bytearray(b"\r\n".join([line, *fields, b"", b""]) + body)
    for place, byte in changes:
        data[place % len(data)] = byte
    assert response_of([bytes(data)]) == response_of(cut(bytes(data), places))


def response_of(pieces: list[bytes]) -> object:
    """Status, headers and body, or that it is none."""
    parser = ResponseParser()
    body = b""
    try:
        for piece in pieces:
            parser.feed(piece)
            body += parser.take()
            if parser.ended:
                break
        if not parser.ended:
            parser.end_of_stream()
    except (BadResponse, ConnectionLost):
        return "no response"
    return parser.status, parser.headers, body
