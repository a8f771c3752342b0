"""What the fake upstream "generates", and the figures that model servers report about it.

Everything is a function of request and settings, figures included: a test can say what to expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, islice

from swapd.testing.upstream.settings import Settings

_WORDS = ("Hello", "from", "the", "fake", "upstream", "which", "repeats", "these", "words", "as", "told")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
_PROMPTS = ("messages", "prompt", "input", "system", "instructions", "input_prefix", "input_suffix")

_PROMPT_MS_PER_TOKEN = 2.0
_UNPACED_MS_PER_TOKEN = 10.0


class Generation:
    """The text for one request: `pieces` joined are the text, one piece is one token."""

    def __init__(self, request: Mapping[str, object], settings: Settings) -> None:
        self._settings = settings
        self.model = settings.model or str(request.get("model", "fake"))
        self.prompt_tokens = max(1, sum(count_words(request.get(key)) for key in _PROMPTS))
        limit = min(_positive(request.get(key)) or settings.tokens for key in _LIMITS)
        self.finish_reason = "length" if limit < settings.tokens else "stop"
        words = islice(cycle(_WORDS), min(limit, settings.tokens))
        self.pieces = [word if index == 0 else " " + word for index, word in enumerate(words)]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return len(self.pieces)

    def timings(self) -> dict[str, float]:
        """llama.cpp's `timings`."""
        settings = self._settings
        evaluated = self.prompt_tokens - max(0, settings.cached)
        per_token_ms = 1000 / settings.tps if settings.tps else _UNPACED_MS_PER_TOKEN
        timings: dict[str, float] = {
            "prompt_n": evaluated,
            "prompt_ms": evaluated * _PROMPT_MS_PER_TOKEN,
            "prompt_per_token_ms": _PROMPT_MS_PER_TOKEN,
            "prompt_per_second": 1000 / _PROMPT_MS_PER_TOKEN,
            "predicted_n": self.tokens,
            "predicted_ms": self.tokens * per_token_ms,
            "predicted_per_token_ms": per_token_ms,
            "predicted_per_second": 1000 / per_token_ms,
        }
        if settings.cached >= 0:
            timings["cache_n"] = settings.cached
        if settings.draft >= 0:
            timings |= {"draft_n": settings.draft, "draft_n_accepted": settings.draft_accepted}
        return timings

    def openai_usage(self) -> dict[str, object]:
        usage: dict[str, object] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        }
        if self._settings.cached >= 0:
            usage["prompt_tokens_details"] = {"cached_tokens": self._settings.cached}
        return usage

    def responses_usage(self) -> dict[str, object]:
        """The usage object of OpenAI's responses API."""
        return {
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": {"cached_tokens": max(0, self._settings.cached)},
            "output_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        }

    def anthropic_usage(self, output_tokens: int) -> dict[str, object]:
        usage: dict[str, object] = {"input_tokens": self.prompt_tokens, "output_tokens": output_tokens}
        if self._settings.cached >= 0:
            usage["cache_read_input_tokens"] = self._settings.cached
        return usage


def count_words(value: object) -> int:
    """Words in all texts of a prompt, however it is nested; roles and types are not counted."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, list):
        return sum(map(count_words, value))
    if isinstance(value, dict):
        return sum(count_words(item) for key, item in value.items() if key not in ("role", "type"))
    return 0


def _positive(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
