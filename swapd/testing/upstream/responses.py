"""OpenAI's responses API: whole and streamed."""

from __future__ import annotations

from itertools import count

from swapd.testing.upstream.answer import Answer
from swapd.testing.upstream.generation import Generation
from swapd.testing.upstream.state import UpstreamState
from swapd.testing.upstream.wire import Request

_ITEM = "msg_fake"


def answer(request: Request, state: UpstreamState) -> Answer | None:
    """The answer when the path is the responses API's, else None."""
    if request.method != "POST" or request.path.removeprefix("/v1") != "/responses":
        return None
    body = request.json()
    generation = Generation(body, state.settings)
    if body.get("stream"):
        return _stream(generation)
    return Answer.json(_response(generation, done=True), tokens=generation.tokens)


def _text_part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": []}


def _item(generation: Generation, *, done: bool) -> dict[str, object]:
    content = [_text_part(generation.text)] if done else []
    status = "completed" if done else "in_progress"
    return {"id": _ITEM, "type": "message", "role": "assistant", "status": status, "content": content}


def _response(generation: Generation, *, done: bool) -> dict[str, object]:
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": generation.model,
        "status": "completed" if done else "in_progress",
        "output": [_item(generation, done=True)] if done else [],
        "usage": generation.responses_usage() if done else None,
    }


def _stream(generation: Generation) -> Answer:
    number = count()

    def named(kind: str, **members: object) -> dict[str, object]:
        return {"type": f"response.{kind}", "sequence_number": next(number), **members}

    place = {"item_id": _ITEM, "output_index": 0, "content_index": 0}
    started = _response(generation, done=False)
    prologue = [
        named("created", response=started),
        named("in_progress", response=started),
        named("output_item.added", output_index=0, item=_item(generation, done=False)),
        named("content_part.added", **place, part=_text_part("")),
    ]
    deltas = [named("output_text.delta", **place, delta=piece) for piece in generation.pieces]
    epilogue = [
        named("output_text.done", **place, text=generation.text),
        named("content_part.done", **place, part=_text_part(generation.text)),
        named("output_item.done", output_index=0, item=_item(generation, done=True)),
        named("completed", response=_response(generation, done=True)),
    ]
    return Answer.named_stream(deltas, prologue=prologue, epilogue=epilogue)
