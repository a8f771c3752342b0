"""Captures: what is kept of a request, what is masked, and how much of it all."""

from __future__ import annotations

import base64
import os
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from swapd.config import loads
from swapd.observe.captures import Capture, CaptureRules, Captures, Packed, capture_of, headers_of, pack
from swapd.observe.inflight import InFlight, InFlightRequest
from swapd.observe.recorder import tap_for


def rules(text: str = "") -> CaptureRules:
    config = loads(text + "\nmodels: {}").config
    assert config is not None
    return CaptureRules.from_config(config)


def request_of(path: str = "/v1/chat/completions", status: int = 200, **values: Any) -> InFlightRequest:
    request = InFlight().begin(
        "m",
        method="POST",
        path=path,
        forwarded_path=path,
        query=values.pop("query", b""),
        headers=[(b"host", b"h"), (b"authorization", b"Bearer s"), (b"accept", b"a"), (b"accept", b"b")],
        client="",
        progress=SimpleNamespace(status=status, bytes_sent=2),
        recorded=True,
    )
    request.request_body = b'{"model":"m"}'
    request.response_headers = [
        (b"content-type", values.pop("content_type", b"application/json")),
        (b"set-cookie", b"c=1"),
    ]
    return request


def captured(request: InFlightRequest, body: bytes = b"{}", wanted: CaptureRules | None = None) -> Capture:
    wanted = wanted or rules()
    tap = tap_for(request, wanted.most_of_a_body)
    tap.feed(body)
    return capture_of(request, tap, wanted)


def of_size(size: int) -> Capture:
    return Capture("/p", "", b"", os.urandom(size), b"", None, False)


def test_given_a_chat_when_captured_then_all_is_there_and_secrets_are_masked() -> None:
    shown = captured(request_of(query=b"model=m&api_key=s")).as_json(7, bodies=True)

    assert shown == {
        "id": 7,
        "req_path": "/v1/chat/completions",
        "req_query": "model=m&api_key=[REDACTED]",
        "req_headers": {"Authorization": "[REDACTED]", "Accept": "a"},
        "req_header_values": {"Accept": ["a", "b"]},
        "req_body": base64.b64encode(b'{"model":"m"}').decode(),
        "resp_headers": {"Content-Type": "application/json", "Set-Cookie": "[REDACTED]"},
        "resp_body": base64.b64encode(b"{}").decode(),
    }


@pytest.mark.parametrize(
    ("path", "request_body", "response_body"),
    [
        ("/v1/embeddings", True, True),
        ("/v1/audio/speech", True, False),
        ("/v1/images/generations", True, False),
        ("/sdapi/v1/txt2img", True, False),
        ("/v1/audio/voices", False, True),
        ("/v1/audio/transcriptions", False, True),
        ("/v1/images/edits", False, False),
        ("/sdapi/v1/img2img", False, False),
    ],
)
def test_given_a_route_when_captured_then_what_is_large_and_dull_is_left_out(
    path: str, request_body: bool, response_body: bool
) -> None:
    capture = captured(request_of(path))

    assert (capture.req_body is not None, capture.resp_body is not None) == (request_body, response_body)


def test_given_an_error_when_captured_then_its_body_is_kept_if_it_is_text() -> None:
    text = captured(request_of(status=500, content_type=b"text/plain"), b"oh")
    binary = captured(request_of(status=500, content_type=b"image/png"), b"oh")

    assert text.resp_body == b"oh"
    assert binary.resp_body is None


def test_given_bodies_that_are_too_long_when_captured_then_they_are_cut_and_it_is_said() -> None:
    request = request_of()
    request.request_body = b"x" * 3000
    capture = captured(request, b"y" * 3000, rules("captures: {maxEntry: 1KiB}"))

    assert (len(capture.req_body or b""), len(capture.resp_body or b"")) == (1024, 1024)
    assert capture.as_json(1, bodies=False)["truncated"] is True
    assert capture.as_json(1, bodies=False)["resp_body"] is None


def test_given_patterns_and_header_names_when_captured_then_these_are_masked_too() -> None:
    wanted = rules("captures: {redactHeaders: [Accept], redactPatterns: ['sk-\\w+']}")
    capture = captured(request_of(), b'{"text":"sk-abc and more"}', wanted)

    assert capture.resp_body == b'{"text":"[REDACTED] and more"}'
    assert headers_of(capture.req_headers)["Accept"] == ["[REDACTED]", "[REDACTED]"]
    assert headers_of(capture.req_headers)["Authorization"] == ["[REDACTED]"], "always masked"


def test_given_keys_when_only_some_are_captured_then_others_are_not() -> None:
    request = request_of()

    assert rules().wants(request)
    assert not rules("captureBuffer: 0").wants(request)
    assert not rules("captures: {onlyKeys: [alice]}").wants(request)
    request.key_name = "alice"
    assert rules("captures: {onlyKeys: [alice]}").wants(request)


def test_given_a_capture_when_packed_then_it_is_the_same_again() -> None:
    capture = captured(request_of(), b"z" * 10_000)

    other = captured(request_of(), b"y" * 10_000)

    together = pack([other, capture])

    assert len(together) < 1000
    assert Packed(together, 0).unpack() == other
    assert Packed(together, 1).unpack() == capture


async def test_given_more_captures_than_fit_when_added_then_the_oldest_go_and_memory_is_bounded() -> None:
    captures = Captures(rules("captureBuffer: 1"))
    for id in range(1, 31):
        captures.add(id, of_size(100_000))

    assert captures.ids() == list(range(21, 31))
    assert captures.size <= 1024 * 1024
    captures.add(99, of_size(2 * 1024 * 1024))
    assert 99 not in captures
    assert captures.get(1) is None


async def test_given_many_captures_when_packed_then_they_are_the_same_and_more_fit() -> None:
    captures = Captures(rules("captureBuffer: 1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(captures.run)
        for id in range(1, 31):
            captures.add(id, Capture("/p", str(id), b"", b"x" * 100_000, b"", None, False))
            while captures._unpacked_size > 512 * 1024:
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()

    assert captures.ids() == list(range(1, 31))
    for id in (1, 15, 30):
        capture = captures.get(id)
        assert capture is not None
        assert (capture.req_query, capture.req_body) == (str(id), b"x" * 100_000)
