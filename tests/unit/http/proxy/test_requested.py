"""Which model a request names, by body or by query."""

from __future__ import annotations

from typing import Any

import pytest

from swapd.http.proxy.forms import first_value
from swapd.http.proxy.requested import requested_by

FORM = "application/x-www-form-urlencoded"


def scope(method: str, content_type: str | None, query: str) -> dict[str, Any]:
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    return {"method": method, "headers": headers, "query_string": query.encode()}


@pytest.mark.parametrize(
    ("method", "content_type", "query", "body", "name", "stream"),
    [
        ("GET", None, "model=m1", b"", "m1", False),
        ("GET", "application/json", "model=m1&stream=true", b'{"model":"body"}', "m1", True),
        ("HEAD", None, "x=1&model=m1&model=m2&stream=TRUE", b"", "m1", False),
        ("POST", "application/json", "model=query", b'{"model":"m1","stream":true}', "m1", True),
        ("POST", "application/json; charset=utf-8", "", b'{"model":"m1"}', "m1", False),
        ("POST", "Application/JSON", "", b'{"model":"m1"}', "m1", False),
        ("POST", "application/json-patch+json", "", b'{"model":"m1"}', "m1", False),
        ("POST", "application/json", "model=query", b"{}", "", False),
        ("POST", "application/vnd.api+json", "model=query", b'{"model":"m1"}', "query", False),
        ("POST", FORM, "", b"model=m1&stream=true", "m1", True),
        ("POST", FORM + "; charset=utf-8", "model=query", b"model=a%2Fb+c", "a/b c", False),
        ("POST", FORM, "model=query&stream=true", b"x=1", "query", True),
        ("POST", FORM, "model=query", b"model=", "", False),
        ("POST", None, "model=m1", b"\x00\x01 audio", "m1", False),
        ("POST", FORM, "model=query", b' {"model":"m1","stream":true}', "m1", True),  # as `curl -d` sends it
        ("POST", FORM, "", b"[1]&model=m1", "m1", False),
        ("POST", "text/plain", "", b'{"model":"m1"}', "", False),
        ("POST", None, "", b"model=m1", "", False),
    ],
)
def test_given_a_request_when_read_then_the_model_is_where_its_type_says(
    method: str, content_type: str | None, query: str, body: bytes, name: str, stream: bool
) -> None:
    asked_in_body = content_type is not None and method == "POST"
    kind = content_type.lower().encode() if asked_in_body else b""
    requested = requested_by(scope(method, content_type, query), kind, body)
    assert (requested.name, requested.stream) == (name, stream)
    says_json = content_type is not None and "application/json" in content_type.lower()
    is_object = content_type == FORM and body.lstrip().startswith(b"{")
    assert (requested.json is not None) == (method == "POST" and (says_json or is_object))


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"", None),
        (b"model", ""),
        (b"model=", ""),
        (b"a=1&model=x&model=y", "x"),
        (b"model=a+b%20c%2Bd", "a b c+d"),
        (b"mod%65l=x", "x"),
        (b"model=%C3%BC", "ü"),
        (b"model=%FF", "�"),
        (b"model=a=b", "a=b"),
        # broken pairs do not count
        (b"model=%zz&model=x", "x"),
        (b"model=%4&model=x", "x"),
        (b"model=a;b=c&model=x", "x"),
        (b"models=x", None),
    ],
)
def test_given_an_encoded_form_when_read_then_the_first_sound_value_counts(
    encoded: bytes, value: str | None
) -> None:
    assert first_value(encoded, "model") == value
