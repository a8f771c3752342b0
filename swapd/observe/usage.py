"""How many tokens a request cost: read from what the model's server says, in any of the field's dialects.

OpenAI's and Anthropic's answers carry a `usage` object, llama.cpp's `timings`, vLLM's `metrics`. What is
found later in a stream replaces what came before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

UNKNOWN: Final = -1


class Tokens(Struct):
    """What one request cost. -1 is "not reported"; all zero if the answer carried no figures at all."""

    input: int = 0
    output: int = 0
    cached: int = 0
    draft: int = 0
    draft_accepted: int = 0
    prompt_per_s: float = 0.0
    generated_per_s: float = 0.0


class _Payload(Struct):
    """The members of an answer, or of one event of a stream, that may carry figures; all else is skipped."""

    usage: Raw = Raw()
    timings: Raw = Raw()
    metrics: Raw = Raw()
    response: Raw = Raw()
    message: Raw = Raw()


class _Nested(Struct):
    usage: Raw = Raw()


class _UsageObject(Struct):
    """The members of a `usage` object that count, whatever their type."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    input_tokens_details: Any = None
    prompt_tokens_details: Any = None


_payload = msgspec.json.Decoder(_Payload)
_nested = msgspec.json.Decoder(_Nested)
_usage_object = msgspec.json.Decoder(_UsageObject)


class Usage:
    """Collects the figures of one answer. The mutable state is what has been found so far."""

    __slots__ = ("_cached", "_found", "_input", "_metrics", "_output", "_timings")

    def __init__(self) -> None:
        self._found = False
        self._input = self._output = 0
        self._cached = UNKNOWN
        self._timings: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}

    def take_answer(self, body: bytes, *, last_element: bool) -> bool:
        """Read a whole JSON answer; False if it is no JSON.

        With `last_element` an array counts by the timings of its last element, as llama.cpp's `/infill` does.
        """
        try:
            payload = _payload.decode(body)
        except msgspec.ValidationError:
            return self._take_array(body, last_element=last_element)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        self._take(payload, (payload.usage,))
        return True

    def take_event(self, text: bytes) -> None:
        """Read the data of one server-sent event; what is no JSON object is passed over."""
        try:
            payload = _payload.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        self._take(payload, (payload.usage, _inner(payload.response), _inner(payload.message)))

    def tokens(self) -> Tokens:
        """The figures in one shape."""
        if not self._found:
            return Tokens()
        tokens = Tokens(
            self._input, self._output, self._cached, UNKNOWN, UNKNOWN, float(UNKNOWN), float(UNKNOWN)
        )
        if self._timings:
            _apply_timings(tokens, self._timings)
        if self._metrics:
            _apply_metrics(tokens, self._metrics)
        return tokens

    def model_ms(self) -> float:
        """How long the model itself says it has worked, in milliseconds; 0 if it does not say."""
        if not self._timings:
            return 0.0
        return _number(self._timings.get("prompt_ms")) + _number(self._timings.get("predicted_ms"))

    def _take_array(self, body: bytes, *, last_element: bool) -> bool:
        try:
            elements = msgspec.json.decode(body, type=list[Raw])
        except msgspec.ValidationError:
            return True  # JSON, but neither object nor array
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if last_element and elements:
            try:
                self._take(_Payload(timings=_payload.decode(elements[-1]).timings), ())
            except msgspec.ValidationError:
                pass
        return True

    def _take(self, payload: _Payload, usages: Iterable[Raw]) -> None:
        for raw in usages:
            if raw:
                self._take_usage(raw)
        if (timings := _object(payload.timings)) is not None:
            self._found, self._timings = True, timings
        if (metrics := _object(payload.metrics)) is not None:
            self._found, self._metrics = True, metrics

    def _take_usage(self, raw: Raw) -> None:
        try:
            usage = _usage_object.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        self._found = True
        prompt, answered = usage.prompt_tokens, usage.completion_tokens
        self._input = _count(usage.input_tokens if prompt is None else prompt) or self._input
        self._output = _count(usage.output_tokens if answered is None else answered) or self._output
        cached = usage.cache_read_input_tokens
        for details in (usage.input_tokens_details, usage.prompt_tokens_details):
            if cached is None and isinstance(details, dict):
                cached = details.get("cached_tokens")
        if cached is not None and (count := _count(cached)) >= 0:
            self._cached = count


def _apply_timings(tokens: Tokens, timings: dict[str, Any]) -> None:
    """What llama.cpp has measured counts more than what it reports as usage."""
    tokens.input = _count(timings.get("prompt_n"))
    tokens.output = _count(timings.get("predicted_n"))
    tokens.prompt_per_s = _number(timings.get("prompt_per_second"))
    tokens.generated_per_s = _number(timings.get("predicted_per_second"))
    if timings.get("cache_n") is not None:
        tokens.cached = _count(timings["cache_n"])
    if timings.get("draft_n") is not None and timings.get("draft_n_accepted") is not None:
        tokens.draft = _count(timings["draft_n"])
        tokens.draft_accepted = _count(timings["draft_n_accepted"])


def _apply_metrics(tokens: Tokens, metrics: dict[str, Any]) -> None:
    drafts = metrics.get("speculative_decoding")
    if isinstance(drafts, dict):
        draft, accepted = drafts.get("num_draft_tokens"), drafts.get("num_accepted_draft_tokens")
        if draft is not None and accepted is not None:
            tokens.draft, tokens.draft_accepted = _count(draft), _count(accepted)
    first_token_ms = _number(metrics.get("time_to_first_token_ms"))
    if first_token_ms > 0:
        tokens.prompt_per_s = (tokens.input - max(tokens.cached, 0)) / (first_token_ms / 1000)
    between_tokens_ms = _number(metrics.get("mean_itl_ms"))
    if between_tokens_ms > 0:
        tokens.generated_per_s = 1000 / between_tokens_ms


def _inner(raw: Raw) -> Raw:
    """The raw `usage` inside a raw object; empty if there is none."""
    if not raw:
        return raw
    try:
        return _nested.decode(raw).usage
    except msgspec.DecodeError:
        return Raw()


def _object(raw: Raw) -> dict[str, Any] | None:
    if not raw:
        return None
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def _count(value: Any) -> int:
    if type(value) is int:  # and not a bool, which is no figure
        return value if abs(value) < 2**62 else 0
    number = _number(value)
    return int(number) if abs(number) < 2**62 else 0


def _number(value: Any) -> float:
    """Numbers as they are, numeric text parsed, anything else 0."""
    if isinstance(value, bool):
        return 0.0
    if isinstance(value, (int, float, str)):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return 0.0
        return number if number - number == 0 else 0.0  # neither infinite nor NaN
    return 0.0
