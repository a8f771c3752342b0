"""The answer to one request, before pacing and faults are applied to it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from swapd.testing.upstream.wire import DONE_EVENT, event


class Answer:
    """Either a whole body, or a stream: `prologue`, one frame a token, `epilogue`; all already framed.

    `tokens` is the number of tokens a whole body stands for, which decides how long it takes. A stream is
    chunked unless `length` says how many bytes its frames have in all.
    """

    def __init__(
        self,
        content_type: str,
        body: bytes = b"",
        *,
        status: int = 200,
        tokens: int = 0,
        prologue: Iterable[bytes] = (),
        frames: Iterable[bytes] | None = None,
        epilogue: Iterable[bytes] = (),
        length: int | None = None,
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.tokens = tokens
        self.prologue = prologue
        self.frames = frames
        self.epilogue = epilogue
        self.length = length

    @classmethod
    def json(cls, value: object, *, status: int = 200, tokens: int = 0) -> Answer:
        body = json.dumps(value).encode()
        return cls("application/json; charset=utf-8", body, status=status, tokens=tokens)

    @classmethod
    def error(cls, status: int, message: str) -> Answer:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return cls.json({"error": {"message": message, "type": kind, "code": status}}, status=status)

    @classmethod
    def openai_stream(
        cls, frames: Iterable[object], *, prologue: Iterable[object] = (), epilogue: Iterable[object] = ()
    ) -> Answer:
        """Server-sent events without names that end with `[DONE]`."""
        return cls(
            "text/event-stream",
            prologue=[event(value) for value in prologue],
            frames=(event(value) for value in frames),
            epilogue=[*(event(value) for value in epilogue), DONE_EVENT],
        )

    @classmethod
    def named_stream(
        cls,
        frames: Iterable[dict[str, object]],
        *,
        prologue: Iterable[dict[str, object]],
        epilogue: Iterable[dict[str, object]],
    ) -> Answer:
        """Server-sent events named after their `type`, as Anthropic's and the responses API have them."""
        return cls(
            "text/event-stream",
            prologue=map(_named, prologue),
            frames=map(_named, frames),
            epilogue=map(_named, epilogue),
        )


def _named(value: dict[str, object]) -> bytes:
    return event(value, str(value["type"]))
