"""What clients are told: statuses, codes, shapes, Retry-After."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swapd.http.errors import CASES, ErrorAnswer, Rejected, from_refusal, render, request_id
from swapd.nursery.events import Refusal, RefusalCode


def scope(path: str = "/v1/chat/completions", version: str = "1.1", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "http_version": version, "headers": pairs}


def answered(answer: ErrorAnswer, **request: str) -> tuple[int, dict[bytes, bytes], bytes]:
    status, headers, body = render(answer, scope(**request))
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    return status, dict(headers), body


@pytest.mark.parametrize(
    ("code", "status", "type_", "retry_after"),
    [
        ("bad_request", 400, "invalid_request_error", None),
        ("unauthorized", 401, "authentication_error", None),
        ("forbidden", 403, "authentication_error", None),
        ("not_found", 404, "invalid_request_error", None),
        ("model_not_loaded", 409, "invalid_request_error", None),
        ("request_too_large", 413, "invalid_request_error", None),
        ("concurrency_limit", 429, "rate_limit_error", 1),
        ("request_cancelled", 499, "invalid_request_error", None),
        ("internal_error", 500, "server_error", None),
        ("upstream_start_failed", 502, "server_error", None),
        ("upstream_unreachable", 502, "server_error", None),
        ("start_aborted", 503, "server_error", 1),
        ("model_unloaded", 503, "server_error", 1),
        ("process_not_ready", 503, "server_error", 1),
        ("crash_looping", 503, "server_error", 1),
        ("queue_timeout", 503, "server_error", 1),
        ("stop_stuck", 503, "server_error", 30),
        ("shutting_down", 503, "server_error", 5),
        ("insufficient_memory", 503, "server_error", None),
        ("start_timeout", 504, "server_error", None),
        ("upstream_timeout", 504, "server_error", None),
    ],
)
def test_given_a_code_when_answered_then_status_type_and_retry_after_follow(
    code: str, status: int, type_: str, retry_after: int | None
) -> None:
    got, headers, body = answered(ErrorAnswer(code, "what happened"))
    assert got == status
    assert headers.get(b"retry-after") == (None if retry_after is None else b"%d" % retry_after)
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(body) == {
        "src": "swapd",
        "error": {"message": "what happened", "type": type_, "param": None, "code": code},
    }


def test_given_every_refusal_of_the_manager_when_answered_then_the_table_knows_it() -> None:
    assert {code.value for code in RefusalCode} <= CASES.keys()


@pytest.mark.parametrize(
    ("code", "given", "sent"),
    [
        (RefusalCode.CRASH_LOOPING, 17, b"17"),
        (RefusalCode.QUEUE_TIMEOUT, 42, b"42"),
        (RefusalCode.CRASH_LOOPING, 0, b"1"),
        (RefusalCode.SHUTTING_DOWN, None, b"5"),
        # never where trying again would not help, or where there is no telling
        (RefusalCode.START_FAILED, 9, None),
        (RefusalCode.START_TIMEOUT, 9, None),
        (RefusalCode.INSUFFICIENT_MEMORY, 9, None),
        (RefusalCode.NOT_FOUND, 9, None),
    ],
)
def test_given_a_refusal_with_its_own_figure_when_answered_then_it_is_used_where_one_is_due(
    code: RefusalCode, given: int | None, sent: bytes | None
) -> None:
    _, headers, _ = answered(from_refusal(Refusal(code, "later", given)))
    assert headers.get(b"retry-after") == sent


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("text/plain", b"text/plain", b"swapd: <b> & co"),
        (
            "text/html",
            b"text/html",
            b"<html><body><h1>swapd</h1><p>&lt;b&gt; &amp; co</p></body></html>",
        ),
        ("text/html, text/plain;q=0.1", b"text/plain", b"swapd: <b> & co"),
        ("*/*", b"application/json", None),
        ("application/json", b"application/json", None),
        ("", b"application/json", None),
    ],
)
def test_given_what_the_client_accepts_when_answered_then_the_shape_follows(
    accept: str, content_type: bytes, body: bytes | None
) -> None:
    _, headers, got = answered(ErrorAnswer("not_found", "<b> & co"), accept=accept)
    assert headers[b"content-type"] == content_type
    assert got == body if body is not None else json.loads(got)["error"]["message"] == "<b> & co"


def test_given_too_many_requests_when_answered_then_it_is_json_whatever_is_accepted() -> None:
    _, headers, body = answered(ErrorAnswer("concurrency_limit", "Too many requests"), accept="text/plain")
    assert headers[b"content-type"] == b"application/json"
    assert json.loads(body)["error"]["code"] == "concurrency_limit"


@pytest.mark.parametrize(("version", "header"), [("1.0", b"close"), ("1.1", b"close"), ("2", None)])
def test_given_a_shutdown_when_answered_then_the_connection_ends_with_it(
    version: str, header: bytes | None
) -> None:
    _, headers, _ = answered(ErrorAnswer("shutting_down", "swapd is shutting down"), version=version)
    assert headers.get(b"connection") == header
    assert b"connection" not in answered(ErrorAnswer("not_found", "x"), version=version)[1]


@pytest.mark.parametrize(
    ("code", "type_"),
    [
        ("bad_request", "invalid_request_error"),
        ("unauthorized", "authentication_error"),
        ("forbidden", "permission_error"),
        ("not_found", "not_found_error"),
        ("model_not_loaded", "invalid_request_error"),
        ("request_too_large", "request_too_large"),
        ("concurrency_limit", "rate_limit_error"),
        ("request_cancelled", "invalid_request_error"),
        ("upstream_start_failed", "api_error"),
        ("queue_timeout", "overloaded_error"),
        ("start_timeout", "api_error"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages/count_tokens", "/v/messages", "/v/messages/count_tokens"]
)
def test_given_a_route_of_anthropics_sdks_when_answered_then_they_can_read_it(
    path: str, code: str, type_: str
) -> None:
    body = json.loads(answered(ErrorAnswer(code, "why"), path=path, x_request_id="req-1")[2])
    assert body == {
        "src": "swapd",
        "type": "error",
        "error": {"message": "why", "type": type_, "param": None, "code": code},
        "request_id": "req-1",
    }


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "line\nbreak", "größe"])
def test_given_no_usable_request_id_when_one_is_needed_then_it_is_made(given: str) -> None:
    made = {request_id(scope(x_request_id=given)) for _ in range(3)}
    assert len(made) == 3
    assert all(each.startswith("req_") and len(each) == 30 and each[4:].isalnum() for each in made)


def test_given_a_message_that_is_no_unicode_when_answered_then_it_is_sent_all_the_same() -> None:
    for accept in ("text/plain", "text/html", "application/json"):
        assert b"half ?" in answered(ErrorAnswer("not_found", "half \udcff"), accept=accept)[2]


def test_given_an_unknown_code_when_answered_then_that_is_noticed() -> None:
    with pytest.raises(KeyError):
        answered(ErrorAnswer("no_such_code", "x"))


def test_given_a_step_that_rejects_when_looked_at_then_the_exception_says_why() -> None:
    rejected = Rejected.with_code("not_found", "model not found")
    assert (str(rejected), rejected.answer.status) == ("model not found", 404)
