"""Headers on their way through the proxy, in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from swapd.http.errors import REQUEST_ID
from swapd.http.proxy.headers import headers_for_client, headers_for_upstream

Pairs = list[tuple[bytes, bytes]]


def upstream(
    *headers: tuple[bytes, bytes], recorded: bool = False, client: object = ("192.0.2.7", 1)
) -> Pairs:
    scope: dict[str, Any] = {"headers": list(headers), "client": client, REQUEST_ID: "r1"}
    return headers_for_upstream(scope, recorded=recorded)


def test_given_ordinary_headers_when_forwarded_then_they_are_untouched_and_in_order() -> None:
    plain = [
        (b"host", b"swapd.lan:8080"),
        (b"user-agent", b"x"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"authorization", b"Bearer key"),
        (b"traceparent", b"00-a-b-01"),
        (b"origin", b"http://o"),
        (b"x-forwarded-host", b"h"),
        (b"x-forwarded-proto", b"https"),
        (b"forwarded", b"for=1"),
        (b"content-type", b"application/json"),
    ]
    assert upstream(*plain) == [
        *plain,
        (b"accept-encoding", b"identity"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-request-id", b"r1"),
    ]


def test_given_hop_by_hop_headers_when_forwarded_then_they_stay_behind() -> None:
    got = upstream(
        (b"connection", b"keep-alive, X-Drop"),
        (b"connection", b"x-drop-too"),
        (b"x-drop", b"1"),
        (b"x-drop-too", b"1"),
        (b"x-keep", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-authenticate", b"x"),
        (b"proxy-authorization", b"x"),
        (b"proxy-connection", b"x"),
        (b"trailer", b"x"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"expect", b"100-continue"),
        (b"content-length", b"5"),
        (b"te", b"gzip"),
    )
    assert {name for name, _ in got} == {b"x-keep", b"accept-encoding", b"x-forwarded-for", b"x-request-id"}


def test_given_a_client_that_takes_trailers_when_forwarded_then_the_upstream_is_told() -> None:
    assert (b"te", b"trailers") in upstream((b"te", b"gzip, Trailers"), (b"connection", b"te"))


@pytest.mark.parametrize(
    ("old", "client", "new"),
    [
        ([], ("192.0.2.7", 1), b"192.0.2.7"),
        ([b"203.0.113.1"], ("192.0.2.7", 1), b"203.0.113.1, 192.0.2.7"),
        ([b"a, b", b"c"], ("::1", 1), b"a, b, c, ::1"),
        ([b"a"], None, b"a"),
        ([b"a"], ("", None), b"a"),
        ([], None, None),
    ],
)
def test_given_a_client_when_forwarded_then_its_address_is_appended(
    old: list[bytes], client: object, new: bytes | None
) -> None:
    got = upstream(*[(b"x-forwarded-for", value) for value in old], client=client)
    assert dict(got).get(b"x-forwarded-for") == new
    assert sum(name == b"x-forwarded-for" for name, _ in got) <= 1


@pytest.mark.parametrize(
    ("accepted", "recorded", "forwarded"),
    [
        ([], False, b"identity"),
        ([], True, b"identity"),
        ([b"gzip, deflate, br, zstd"], False, b"gzip, deflate, br, zstd"),
        ([b"gzip, deflate, br, zstd"], True, b"gzip, deflate"),
        ([b"br, gzip;q=0.5"], True, b"gzip;q=0.5"),
        ([b"br", b"GZIP ;q=0.1"], True, b"GZIP ;q=0.1"),
        ([b"br"], True, b"identity"),
        ([b"br"], False, b"br"),
    ],
)
def test_given_what_the_client_decodes_when_forwarded_then_recorded_answers_stay_readable(
    accepted: list[bytes], recorded: bool, forwarded: bytes
) -> None:
    got = upstream(*[(b"accept-encoding", value) for value in accepted], recorded=recorded)
    assert [value for name, value in got if name == b"accept-encoding"] == [forwarded]


def test_given_two_hosts_when_forwarded_then_only_the_first_is() -> None:
    assert upstream((b"x", b"1"), (b"host", b"a"), (b"host", b"b"))[0] == (b"host", b"a")
    assert b"b" not in {
        value for name, value in upstream((b"host", b"a"), (b"host", b"b")) if name == b"host"
    }


def test_given_a_response_when_passed_on_then_only_what_is_for_one_hop_is_missing() -> None:
    got = headers_for_client(
        [
            (b"server", b"llama"),
            (b"date", b"today"),
            (b"set-cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"connection", b"close, x-hop"),
            (b"x-hop", b"1"),
            (b"keep-alive", b"timeout=5"),
            (b"transfer-encoding", b"chunked"),
            (b"trailer", b"x-sum"),
            (b"upgrade", b"x"),
            (b"content-type", b"application/json"),
            (b"content-length", b"3"),
            (b"x-accel-buffering", b"yes"),
            (b"x-request-id", b"theirs"),
            (b"x-request-id", b"r1"),
        ],
        b"r1",
    )
    assert got == [
        (b"server", b"llama"),
        (b"date", b"today"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-type", b"application/json"),
        (b"content-length", b"3"),
        (b"x-upstream-request-id", b"theirs"),
        (b"x-request-id", b"r1"),
        (b"x-accel-buffering", b"yes"),
    ]


@pytest.mark.parametrize("content_type", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8"])
@pytest.mark.parametrize("before", [[], [(b"x-accel-buffering", b"yes")]])
def test_given_an_event_stream_when_passed_on_then_nobody_shall_buffer_it(
    content_type: bytes, before: Pairs
) -> None:
    got = headers_for_client([*before, (b"content-type", content_type)], b"r1")
    assert got == [
        (b"content-type", content_type),
        (b"x-request-id", b"r1"),
        (b"x-accel-buffering", b"no"),
    ]
