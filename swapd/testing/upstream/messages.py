"""Anthropic's messages API: whole, streamed, and counting tokens."""

from __future__ import annotations

from swapd.testing.upstream.answer import Answer
from swapd.testing.upstream.generation import Generation
from swapd.testing.upstream.state import UpstreamState
from swapd.testing.upstream.wire import Request

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


def answer(request: Request, state: UpstreamState) -> Answer | None:
    """The answer when the path is one of the messages API, else None."""
    if request.method != "POST":
        return None
    path = request.path.removeprefix("/v1")
    body = request.json()
    if path == "/messages/count_tokens":
        return Answer.json({"input_tokens": Generation(body, state.settings).prompt_tokens})
    if path != "/messages":
        return None
    generation = Generation(body, state.settings)
    return _stream(generation) if body.get("stream") else _whole(generation)


def _message(generation: Generation) -> dict[str, object]:
    return {"id": "msg_fake", "type": "message", "role": "assistant", "model": generation.model}


def _whole(generation: Generation) -> Answer:
    return Answer.json(
        {
            **_message(generation),
            "content": [{"type": "text", "text": generation.text}],
            "stop_reason": _STOP_REASONS[generation.finish_reason],
            "stop_sequence": None,
            "usage": generation.anthropic_usage(generation.tokens),
        },
        tokens=generation.tokens,
    )


def _stream(generation: Generation) -> Answer:
    opening = {
        **_message(generation),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": generation.anthropic_usage(1),
    }
    ending = {"stop_reason": _STOP_REASONS[generation.finish_reason], "stop_sequence": None}
    return Answer.named_stream(
        (
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in generation.pieces
        ),
        prologue=[
            {"type": "message_start", "message": opening},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
        ],
        epilogue=[
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ending, "usage": {"output_tokens": generation.tokens}},
            {"type": "message_stop"},
        ],
    )
