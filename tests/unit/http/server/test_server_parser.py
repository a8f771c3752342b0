"""Requests out of bytes, without a socket: whatever the pieces, and whatever the bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from swapd.http.server.parser import MAX_FIELDS, MAX_PIPELINED, Request, RequestParser

LIMIT = 16 * 1024
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

tokens = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)
values = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 33 and byte != 127))
bodies = st.binary(max_size=400)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[object, ...]]:
    """A valid request as bytes, and what is to be read in it."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD"]))
    target = b"/" + draw(st.text("abc/%20?=&", max_size=30)).encode()
    fields = [(b"X-" + name, value) for name, value in draw(st.lists(st.tuples(tokens, values), max_size=5))]
    fields.insert(draw(st.integers(0, len(fields))), (b"Host", b"example"))
    body = draw(bodies)
    payload = b""
    framing = draw(st.sampled_from(["length", "chunked", "none"]))
    if framing == "none":
        body = b""
    elif framing == "length":
        fields.append((b"Content-Length", b"%d" % len(body)))
        payload = body
    else:
        fields.append((b"Transfer-Encoding", b"chunked"))
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
        pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
        payload = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n"
        payload += b"X-Trailer: x\r\n" * draw(st.integers(0, 2)) + b"\r\n"
    if draw(st.booleans()):
        fields.append((b"Connection", b"Upgrade"))
        fields.append((b"Upgrade", b"h2c"))
    head = [
        method + b" " + target + b" HTTP/1.1",
        *(name + b": " + value for name, value in fields),
        b"",
        b"",
    ]
    seen = [(name.lower(), value) for name, value in fields if name != b"Upgrade"]
    seen = [(name, b"" if name == b"connection" else value) for name, value in seen]
    return b"\r\n".join(head) + payload, (method.decode(), target, "1.1", seen, body, True)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def read(parser: RequestParser) -> list[tuple[object, ...]]:
    return [
        (
            request.method,
            request.target,
            request.version,
            request.headers,
            b"".join(request.chunks),
            request.complete,
        )
        for request in parser.requests
    ]


def parse(*pieces: bytes) -> RequestParser:
    parser = RequestParser(LIMIT)
    for piece in pieces:
        parser.feed(piece)
    return parser


def only(parser: RequestParser) -> Request:
    (request,) = parser.requests
    return request


@settings(max_examples=150, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=12))
def test_valid_requests_are_read_alike_however_they_are_cut(
    sequence: list[tuple[bytes, tuple[object, ...]]], cuts: list[int]
) -> None:
    # Given some requests, one behind the other
    data = b"".join(wire for wire, _ in sequence)
    # When they arrive in pieces
    parser = parse(*pieces_of(data, cuts))
    # Then what is read in them is what was written
    assert parser.failed is None
    assert not parser.in_head
    assert read(parser) == [meaning for _, meaning in sequence]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=100), st.sampled_from([GET, GET[:9], b"\r\n", b"POST "]))))
def test_no_bytes_at_all_make_it_raise(pieces: list[bytes]) -> None:
    # Given anything
    # When it is fed
    parser = parse(*pieces)
    # Then either it makes sense so far or it is said not to
    assert parser.failed is None or 400 <= parser.failed.status <= 505
    assert len(parser.requests) <= MAX_PIPELINED


@settings(max_examples=50, deadline=None)
@given(requests(), st.integers(0, 10_000), st.integers(0, 255))
def test_a_broken_byte_never_makes_it_raise(
    request: tuple[bytes, tuple[object, ...]], place: int, byte: int
) -> None:
    # Given a request with one byte changed
    data = bytearray(request[0])
    data[place % len(data)] = byte
    # When it is fed, in two pieces
    parser = parse(bytes(data[: place % 50]), bytes(data[place % 50 :]))
    # Then it is either read or refused
    assert parser.failed is None or 400 <= parser.failed.status <= 505


def test_connect_to_a_path_is_refused_and_not_read_again_without_end() -> None:
    # Given a CONNECT that names a path, which llhttp calls an upgrade although no field asks for one
    # When it is fed, behind a good request
    parser = parse(GET + b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n")
    # Then the good one is read, and the other refused
    assert len(parser.requests) == 1
    assert parser.failed is not None
    assert parser.failed.status == 501


def test_nothing_is_read_behind_what_makes_no_sense() -> None:
    # Given a good request, a bad one, and a good one
    parser = parse(GET + b"BAD\r\n\r\n" + GET)
    # When more arrives
    parser.feed(GET)
    # Then only the first counts
    assert len(parser.requests) == 1
    assert parser.failed is not None


def test_the_limit_of_a_head_counts_what_is_in_it_and_not_the_body() -> None:
    # Given a head of nearly the limit, with a body beyond it right behind
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\nX: " + b"x" * (LIMIT - 100) + b"\r\n\r\n"
    # When they come in one piece
    parser = parse(head + bytes(50_000))
    # Then that is fine
    assert parser.failed is None
    assert only(parser).complete
    # When the head is beyond it
    parser = parse(head.replace(b"X: ", b"X: " + b"x" * 100) + bytes(50_000))
    # Then that is not
    assert parser.failed is not None
    assert parser.failed.status == 431


def test_as_many_fields_as_are_allowed() -> None:
    # Given the largest number of fields
    fields = b"X: y\r\n" * (MAX_FIELDS - 1)
    # When there is one more
    right = parse(GET[:-2] + fields + b"\r\n")
    wrong = parse(GET[:-2] + fields + b"X: y\r\n\r\n")
    # Then that is too much
    assert right.failed is None
    assert len(only(right).headers) == MAX_FIELDS
    assert wrong.failed is not None
    assert wrong.failed.status == 431


def test_a_websocket_takes_everything_behind_its_handshake() -> None:
    # Given a handshake with tokens in lists and repeated fields
    handshake = GET[:-2] + b"Connection: x\r\nConnection: a, UPGRADE\r\nUpgrade: h2c, WebSocket\r\n\r\n"
    # When bytes follow in the same piece, and in another
    parser = parse(GET + handshake + b"\x81\x05hello")
    parser.feed(GET)
    # Then they belong to the WebSocket
    assert [request.websocket for request in parser.requests] == [False, True]
    assert parser.beyond == b"\x81\x05hello"
    assert parser.failed is None


def test_an_expectation_is_noted_for_http_1_1_only() -> None:
    # Given requests with an expectation, in both versions
    lines = b"Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n"
    # When they are read
    new = only(parse(GET[:-2] + lines))
    old = only(parse(GET[:-2].replace(b"1.1", b"1.0") + lines))
    # Then only the newer one has it
    assert (new.expects_continue, old.expects_continue) == (True, False)
    assert new.content_length == 1
