"""What an answer in OpenAI's form is in Ollama's: whole, or piece by piece."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

Json = dict[str, Any]


def now_text() -> str:
    """The time as RFC 3339 has it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Reply:
    """One answer to `/api/chat` or `/api/generate`, on its way from one form to the other.

    The mutable state is what the last object has to tell: counts, times, why it ended, calls of tools.
    """

    def __init__(self, model: str, *, chat: bool) -> None:
        self._model = model
        self._chat = chat
        self._began = time.perf_counter_ns()
        self._first = 0
        self.load_ns = 0
        """How long the request waited for its model."""
        self._usage: Json = {}
        self._timings: Json = {}
        self._reason = "stop"
        self._calls: dict[int, Json] = {}

    def pieces(self, chunk: Json) -> Iterator[Json]:
        """The objects that one event of a stream becomes."""
        self._note(chunk)
        for choice in _choices(chunk):
            delta = choice.get("delta") or {}
            text = delta.get("content") or choice.get("text") or ""
            thinking = delta.get("reasoning_content") or delta.get("reasoning") or ""
            self._collect_calls(delta.get("tool_calls"))
            if choice.get("finish_reason"):
                self._reason = "length" if choice["finish_reason"] == "length" else "stop"
            if text or thinking:
                self._first = self._first or time.perf_counter_ns()
                yield self._object(text, thinking, done=False)

    def last(self) -> Iterator[Json]:
        """What ends a stream: the calls of tools, if there are any, and the figures."""
        if self._calls:
            yield self._object("", "", done=False, calls=self._tool_calls())
        yield self._object("", "", done=True)

    def whole(self, answer: Json) -> Json:
        """The one object that an answer that is no stream becomes."""
        self._note(answer)
        text = thinking = ""
        for choice in _choices(answer):
            message = choice.get("message") or {}
            text += message.get("content") or choice.get("text") or ""
            thinking += message.get("reasoning_content") or message.get("reasoning") or ""
            self._collect_calls(message.get("tool_calls"))
            self._reason = "length" if choice.get("finish_reason") == "length" else "stop"
        return self._object(text, thinking, done=True, calls=self._tool_calls())

    def without_work(self, reason: str) -> Json:
        """The answer to a request that only loads or unloads the model."""
        head = {"model": self._model, "created_at": now_text()}
        shown: Json = {"message": {"role": "assistant", "content": ""}} if self._chat else {"response": ""}
        return {**head, **shown, "done": True, "done_reason": reason}

    def _note(self, answer: Json) -> None:
        usage, timings = answer.get("usage"), answer.get("timings")
        self._usage = usage if isinstance(usage, dict) else self._usage
        self._timings = timings if isinstance(timings, dict) else self._timings

    def _object(self, text: str, thinking: str, *, done: bool, calls: list[Json] | None = None) -> Json:
        shown: Json = {"role": "assistant", "content": text} if self._chat else {"response": text}
        if thinking:
            shown["thinking"] = thinking
        if calls:
            shown["tool_calls"] = calls
        head = {"model": self._model, "created_at": now_text()}
        body = {**head, **({"message": shown} if self._chat else shown), "done": done}
        return {**body, "done_reason": self._reason, **self._figures()} if done else body

    def _figures(self) -> Json:
        now = time.perf_counter_ns()
        total = now - self._began
        first = (self._first or now) - self._began
        prompt_ns = _milliseconds(self._timings.get("prompt_ms")) or max(0, first - self.load_ns)
        figures: Json = {
            "total_duration": total,
            "load_duration": self.load_ns,
            "prompt_eval_count": _count(self._usage.get("prompt_tokens"), self._timings.get("prompt_n")),
            "prompt_eval_duration": prompt_ns,
            "eval_count": _count(self._usage.get("completion_tokens"), self._timings.get("predicted_n")),
            "eval_duration": _milliseconds(self._timings.get("predicted_ms")) or max(0, total - first),
        }
        return figures if self._chat else {"context": [], **figures}

    def _collect_calls(self, given: Any) -> None:
        """Take in calls of tools; in a stream, names and arguments come in pieces."""
        for position, call in enumerate(given if isinstance(given, list) else ()):
            function = call.get("function") or {}
            known = self._calls.setdefault(call.get("index", position), {"name": "", "arguments": ""})
            known["name"] += function.get("name") or ""
            known["arguments"] += function.get("arguments") or ""

    def _tool_calls(self) -> list[Json]:
        return [
            {"function": {"name": call["name"], "arguments": _arguments(call["arguments"])}}
            for _, call in sorted(self._calls.items())
        ]


class EventLines:
    """Cuts a stream of server-sent events (WHATWG HTML, server-sent events) into the data of each."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Json]:
        """The JSON objects that are complete now. `[DONE]`, comments and what is no JSON are left out."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            try:
                value = msgspec.json.decode(line[5:])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def _choices(answer: Json) -> list[Json]:
    choices = answer.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _arguments(text: str) -> Any:
    try:
        arguments = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"arguments": text}
    return arguments if isinstance(arguments, dict) else {"arguments": arguments}


def _milliseconds(value: Any) -> int:
    return int(value * 1e6) if isinstance(value, int | float) and value > 0 else 0


def _count(*values: Any) -> int:
    return next((value for value in values if isinstance(value, int) and value >= 0), 0)
