"""Responses as bytes, without a socket. What a client makes of them is in the conformance tests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swapd.http.server import response as module
from swapd.http.server.response import Response, ResponseError, Stage, plain_error

DATED = [(b"date", b"now")]


def begun(*headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1") -> Response:
    response = Response(method, version, persistent=True)
    response.start(200, [*DATED, *headers])
    return response


def test_head_and_first_part_are_one_piece() -> None:
    # Given a response that has begun
    response = begun((b"content-length", b"4"))
    assert response.stage is Stage.HEAD
    # When its first part comes
    data = response.body(b"ab", more=True)
    # Then both are to be sent together, and the rest by itself
    assert data == b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 4\r\n\r\nab"
    assert response.body(b"cd", more=False) == b"cd"
    assert response.stage is Stage.DONE


def test_the_spelling_of_fields_is_kept() -> None:
    # Given fields in various spellings
    response = begun((b"X-Request-ID", b"a:b, c"), (b"Content-Length", b"0"))
    # When sent, then they are as they were
    assert b"\r\nX-Request-ID: a:b, c\r\nContent-Length: 0\r\n" in response.body(b"", more=False)


def test_an_unknown_status_has_the_reason_of_its_class() -> None:
    # Given statuses that nobody has registered
    reasons = []
    for status in (299, 399, 499, 498, 599, 799):
        response = Response("GET", "1.1", persistent=True)
        response.start(status)
        reasons.append(response.body(b"", more=False).split(b"\r\n")[0].split(b" ", 2)[2])
    # Then their reasons are not empty
    assert reasons == [
        b"Success",
        b"Redirection",
        b"Client Closed Request",
        b"Client Error",
        b"Server Error",
        b"Unknown",
    ]


def test_names_are_remembered_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given room for three names
    monkeypatch.setattr(module, "_known_names", {})
    monkeypatch.setattr(module, "_MAX_KNOWN_NAMES", 3)
    # When there are many
    for number in range(10):
        begun((b"x-%d" % number, b"y"))
    # Then only that many are kept, and the others are valid still, or not
    assert len(module._known_names) == 3
    with pytest.raises(ResponseError):
        begun((b"not valid", b"y"))


def test_a_part_after_the_last_one_is_refused() -> None:
    # Given a response that is whole
    response = begun()
    response.body(b"x", more=False)
    # When there is more
    with pytest.raises(ResponseError):
        response.body(b"y", more=False)
    with pytest.raises(ResponseError):
        response.start(200)


def test_a_servers_own_error_has_no_body_for_head() -> None:
    # Given an error
    # When it answers a HEAD
    data = plain_error(404, "x", bodyless=True)
    # Then it ends with the head, though it tells the length
    assert data.endswith(b"\r\n\r\n")
    assert b"content-length: 17\r\n" in data


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=20), st.binary(max_size=30))
def test_no_field_can_break_out_of_its_line(name: bytes, value: bytes) -> None:
    # Given any field at all
    try:
        data = begun((name, value)).body(b"", more=False)
    except ResponseError:
        return  # refused
    # Then it is one line, or none if it is the server's own business
    lines = data.split(b"\r\n")
    assert len(lines) <= 3 + 3
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)
