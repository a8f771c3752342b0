"""Token figures from the answers of every family, whole and streamed."""

from __future__ import annotations

import gzip
import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from swapd.observe.inflight import InFlight
from swapd.observe.tap import END_OF_JSON, WHOLE_JSON, BodyTap, Outcome
from swapd.observe.usage import Tokens

CHAT = "/v1/chat/completions"


def tap_of(content_type: str = "application/json", encoding: str = "", keep: int = 0) -> BodyTap:
    request = InFlight().begin(
        "m",
        method="POST",
        path=CHAT,
        forwarded_path=CHAT,
        query=b"",
        headers=[],
        client="",
        progress=SimpleNamespace(status=200, bytes_sent=0),
        recorded=True,
    )
    return BodyTap(request, content_type, encoding, keep)


def of_json(value: Any, path: str = CHAT, status: int = 200, pieces: int = 3) -> Outcome:
    """What is learned from a JSON answer that comes in pieces."""
    tap = tap_of()
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    for piece in cut(body, pieces):
        tap.feed(piece)
    return tap.outcome(status, path)


def cut(body: bytes, pieces: int) -> list[bytes]:
    size = max(1, -(-len(body) // pieces))
    return [body[start : start + size] for start in range(0, len(body), size)]


def of_stream(*events: Any, pieces: int = 1, end: bytes = b"\n\n") -> Tokens:
    body = b"".join(
        b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + end
        for event in events
    )
    tap = tap_of("text/event-stream; charset=utf-8")
    for piece in cut(body, pieces):
        tap.feed(piece)
    return tap.outcome(200, CHAT).tokens


def test_case_73_given_openai_usage_when_read_then_counts_are_known_and_speeds_are_not() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}

    assert of_json({"usage": usage}).tokens == Tokens(12, 7, 4, -1, -1, -1, -1)


def test_case_74_given_llamacpp_timings_when_read_then_they_override_and_the_time_is_known() -> None:
    outcome = of_json(
        {
            "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            "timings": {
                "prompt_n": 20,
                "predicted_n": 50,
                "prompt_per_second": 100,
                "predicted_per_second": 40,
                "prompt_ms": 200,
                "predicted_ms": 1250,
                "cache_n": 8,
            },
        }
    )

    assert outcome.tokens == Tokens(20, 50, 8, -1, -1, 100, 40)
    assert outcome.model_ms == 1450


@pytest.mark.parametrize("pieces", [1, 2, 7, 100])
def test_case_75_given_vllm_metrics_in_a_stream_when_read_then_speeds_follow_from_them(pieces: int) -> None:
    tokens = of_stream(
        {"choices": [{"delta": {"content": "x"}}], "usage": None},
        {"choices": [], "usage": {"prompt_tokens": 14, "completion_tokens": 152}},
        {"metrics": {"time_to_first_token_ms": 70, "mean_itl_ms": 10}},
        b"[DONE]",
        pieces=pieces,
    )

    assert tokens == Tokens(14, 152, -1, -1, -1, pytest.approx(200), pytest.approx(100))


def test_case_76_given_drafts_when_both_counters_are_there_then_they_count_and_else_not() -> None:
    both = {"num_draft_tokens": 20, "num_accepted_draft_tokens": 14}

    drafted = of_json({"metrics": {"speculative_decoding": both}}).tokens
    one = of_json({"metrics": {"speculative_decoding": {"num_draft_tokens": 20}}}).tokens

    assert (drafted.draft, drafted.draft_accepted) == (20, 14)
    assert (one.draft, one.draft_accepted) == (-1, -1)


def test_case_77_given_anthropic_and_responses_streams_when_read_then_their_usage_is_found() -> None:
    anthropic = of_stream(
        {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 15}},
    )
    responses = of_stream(
        {"type": "response.created", "response": {"usage": None}},
        {
            "type": "response.completed",
            "response": {
                "usage": {
                    "input_tokens": 9,
                    "output_tokens": 4,
                    "input_tokens_details": {"cached_tokens": 3},
                }
            },
        },
    )

    assert (anthropic.input, anthropic.output) == (25, 15)
    assert (responses.input, responses.output, responses.cached) == (9, 4, 3)


def test_case_78_given_an_infill_array_when_read_then_the_last_element_counts() -> None:
    array = [{"timings": {"prompt_n": 1, "predicted_n": 1}}, {"timings": {"prompt_n": 5, "predicted_n": 9}}]

    infill = of_json(array, "/infill").tokens
    elsewhere = of_json(array, CHAT).tokens
    speech = of_json(b"\x00\x01RIFF", "/v1/audio/speech").tokens

    assert (infill.input, infill.output) == (5, 9)
    assert elsewhere == speech == Tokens()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"7",
        b'{"usage":null}',
        b'{"usage":7,"timings":[]}',
        b'{"input_tokens":3}',
        b"{",
        b"\xff",
    ],
)
def test_given_nothing_usable_when_read_then_all_is_zero(body: bytes) -> None:
    assert of_json(body).tokens == Tokens()


def test_given_odd_numbers_when_read_then_floats_are_cut_text_is_parsed_and_the_rest_is_zero() -> None:
    tokens = of_json({"usage": {"prompt_tokens": 3.9, "completion_tokens": "7"}}).tokens
    rest = of_json(b'{"usage":{"prompt_tokens":[1],"completion_tokens":true}}').tokens

    assert (tokens.input, tokens.output) == (3, 7)
    assert (rest.input, rest.output) == (0, 0)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_given_a_stream_without_a_last_line_feed_when_read_then_its_end_counts_too(end: bytes) -> None:
    tap = tap_of("text/event-stream")
    tap.feed(b'data: {"choices":[]}' + end + b'data: {"usage":{"prompt_tokens":5}}')

    assert tap.outcome(200, CHAT).tokens.input == 5


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: zlib.compress(body)[2:-4]])
def test_given_a_packed_answer_when_read_then_it_is_unpacked_first(pack: Any) -> None:
    tap = tap_of(encoding="gzip" if pack is gzip.compress else "deflate")
    for piece in cut(pack(b'{"usage":{"prompt_tokens":5}}'), 4):
        tap.feed(piece)

    assert tap.outcome(200, CHAT).tokens.input == 5


def test_given_a_damaged_packed_answer_when_read_then_the_row_says_so() -> None:
    tap = tap_of(encoding="gzip")
    tap.feed(b"not gzip at all")

    outcome = tap.outcome(200, CHAT)

    assert outcome.error.startswith("response decompression failed: ")
    assert not outcome.readable


def test_given_a_packed_stream_when_read_then_it_is_unpacked_as_it_comes() -> None:
    body = gzip.compress(b'data: {"usage":{"prompt_tokens":5}}\n\n')
    tap = tap_of("text/event-stream", "gzip")
    for piece in cut(body, 5):
        tap.feed(piece)

    assert tap.outcome(200, CHAT).tokens.input == 5


@pytest.mark.parametrize("at_end", [True, False])
def test_given_an_answer_too_long_to_keep_when_read_then_its_ends_are_looked_at_and_memory_is_bounded(
    at_end: bool,
) -> None:
    usage, filler = (
        b'"usage":{"prompt_tokens":5,"d":{"t":"}\\"{"}}',
        b'"data":"' + b"x" * 3 * WHOLE_JSON + b'"',
    )
    body = b"{" + (filler + b"," + usage if at_end else usage + b"," + filler) + b"}"
    tap = tap_of()
    for piece in cut(body, 50):
        tap.feed(piece)

    assert tap.outcome(200, CHAT).tokens.input == 5
    assert sum(map(len, tap.kept)) <= WHOLE_JSON
    assert len(tap._tail) <= END_OF_JSON


def test_given_a_long_stream_when_read_then_nothing_of_it_is_kept() -> None:
    tap = tap_of("text/event-stream")
    for _ in range(1000):
        tap.feed(b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n')

    assert tap.kept == []
    assert tap._partial == b""


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b'{"error":{"message":" no weights "}}', 500, "no weights"),
        (b'{"error":"plain"}', 422, "plain"),
        (b'{"error":{"message":""},"message":"m"}', 400, "m"),
        (b'{"detail":"d"}', 422, "d"),
        (b'{"detail":["d"]}', 422, "422 Unprocessable Entity"),
        (b"<html>", 502, "502 Bad Gateway"),
        (b"", 499, "HTTP 499"),
        (b"", 201, "201 Created"),
        (json.dumps({"error": "x" * 600}).encode(), 500, "x" * 500 + "..."),
    ],
)
def test_given_an_error_when_read_then_its_reason_is_found(body: bytes, status: int, error: str) -> None:
    outcome = of_json(body, status=status)

    assert outcome.error == error
    assert outcome.tokens == Tokens()


def test_given_a_reason_to_end_when_read_then_it_is_told_for_streams_too() -> None:
    tap = tap_of("text/event-stream")
    tap.feed(b'data: {"choices":[{"finish_reason":null}]}\n\n')
    tap.feed(b'data: {"choices":[{"finish_reason":"length"}]}\n\n')
    tap.feed(b'data: {"usage":{"prompt_tokens":5}}\n\ndata: [DONE]\n\n')

    assert tap.outcome(200, CHAT).finish_reason == "length"
    assert of_json({"choices": [{"finish_reason": "stop"}]}).finish_reason == "stop"
