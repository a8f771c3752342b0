"""One request of a load test: its body for each of the APIs, and what its answer is measured by."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, frozen

from swapd.cli.client import Answer, Client
from swapd.cli.errors import CliError

USUAL_PROMPT: Final = "Write a few sentences about the history of computing."
PATHS: Final = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
}


@frozen
class Question:
    """What every request of a test asks."""

    endpoint: str = "chat"
    prompt: str = USUAL_PROMPT
    max_tokens: int = 256
    stream: bool = True
    patience_s: float = 300.0
    """How long to wait for the next bytes."""

    @property
    def path(self) -> str:
        return PATHS[self.endpoint]

    @property
    def streams(self) -> bool:
        return self.stream and self.endpoint != "embeddings"

    def body(self, model: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.prompt}]
        bodies: Mapping[str, dict[str, Any]] = {
            "chat": {"messages": messages, "max_tokens": self.max_tokens},
            "completions": {"prompt": self.prompt, "max_tokens": self.max_tokens},
            "messages": {"messages": messages, "max_tokens": self.max_tokens},
            "responses": {"input": self.prompt, "max_output_tokens": self.max_tokens},
            "embeddings": {"input": self.prompt},
        }
        body = {"model": model, **bodies[self.endpoint]}
        if self.streams:
            body["stream"] = True
            if self.endpoint in ("chat", "completions"):
                body["stream_options"] = {"include_usage": True}
        return body


@define
class Outcome:
    """What became of one request. Times are seconds from its start; None for what did not happen."""

    model: str
    started: float
    """By the monotonic clock, as all requests of a test."""
    total_s: float = 0.0
    ttft_s: float | None = None
    """Until the first token of a stream."""
    error: str = ""
    """Empty for an answer that is whole; else an HTTP status, or what broke."""
    tokens: int | None = None
    received: int = 0
    """Bytes of the body."""

    @property
    def tokens_per_s(self) -> float | None:
        """Of a stream, from its first token to its end; of a whole answer, over all of its time."""
        if self.error or not self.tokens:
            return None
        if self.ttft_s is None:
            return self.tokens / self.total_s if self.total_s else None
        lasted = self.total_s - self.ttft_s
        return (self.tokens - 1) / lasted if self.tokens > 1 and lasted > 0 else None


def ask(
    client: Client, question: Question, model: str, opened: Callable[[Answer], None] = lambda answer: None
) -> Outcome:
    """Send one request and read all of its answer. Blocks; never raises for what goes wrong with it.

    `opened` is given the answer as soon as its head is there, so that another thread can end it.
    """
    outcome = Outcome(model, time.monotonic())
    try:
        accepting = range(400, 600)
        with client.open(
            "POST",
            question.path,
            body=question.body(model),
            timeout_s=question.patience_s,
            accept="text/event-stream" if question.streams else "application/json",
            accepting=accepting,
        ) as answer:
            opened(answer)
            if answer.status >= 400:
                outcome.received = len(answer.read())
                outcome.error = str(answer.status)
            elif answer.content_type.startswith("text/event-stream"):
                _read_stream(answer, outcome)
            else:
                text = answer.read()
                outcome.received = len(text)
                outcome.tokens = _reported(_parsed(text))
    except CliError as error:
        outcome.error = error.code.name.lower()
    outcome.total_s = time.monotonic() - outcome.started
    return outcome


def _read_stream(answer: Answer, outcome: Outcome) -> None:
    """Read the events of a stream; a piece of text counts as a token unless the server reports how many."""
    pieces, reported, is_over = 0, None, False
    for line in answer.lines():
        outcome.received += len(line) + 1
        if not line.startswith(b"data:"):
            continue
        value = line.removeprefix(b"data:").strip()
        if value == b"[DONE]":
            is_over = True
            continue
        event = _parsed(value)
        if _is_error(event):
            outcome.error = "error in the stream"
        if event.get("type") in ("message_stop", "response.completed"):
            is_over = True
        reported = _reported(event) or reported
        if _has_text(event):
            pieces += 1
            if outcome.ttft_s is None:
                outcome.ttft_s = time.monotonic() - outcome.started
    outcome.tokens = reported or pieces
    if not is_over and not outcome.error:
        outcome.error = "stream broke off"


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_error(event: Mapping[str, Any]) -> bool:
    return bool(event.get("error")) or event.get("type") in ("error", "response.failed")


def _has_text(event: Mapping[str, Any]) -> bool:
    """Whether an event of one of the four APIs carries text for the user, thoughts included."""
    if event.get("type") == "content_block_delta":
        return True
    if str(event.get("type", "")).endswith("_text.delta"):
        return bool(event.get("delta"))
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if choice.get("text") or delta.get("content") or delta.get("reasoning_content"):
            return True
    return False


def _reported(event: Mapping[str, Any]) -> int | None:
    """Output tokens by the server's own count, wherever its API has it."""
    for place in (event, event.get("response") or {}, event.get("message") or {}):
        usage = place.get("usage") or {}
        for name in ("completion_tokens", "output_tokens"):
            if isinstance(usage.get(name), int) and usage[name] > 0:
                return int(usage[name])
    return None
