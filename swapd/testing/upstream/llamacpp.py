"""llama.cpp's own routes: completion, infill, tokenize, detokenize, props."""

from __future__ import annotations

from swapd.testing.upstream.answer import Answer
from swapd.testing.upstream.generation import Generation
from swapd.testing.upstream.settings import Settings
from swapd.testing.upstream.state import UpstreamState
from swapd.testing.upstream.wire import Request, event


def answer(request: Request, state: UpstreamState) -> Answer | None:
    """The answer when the path is one of llama.cpp's, else None."""
    body = request.json()
    match request.method, request.path:
        case "POST", "/completion" | "/infill":
            return _completion(body, state.settings)
        case "POST", "/tokenize":
            return Answer.json({"tokens": [len(word) for word in str(body.get("content", "")).split()]})
        case "POST", "/detokenize":
            tokens = body.get("tokens")
            return Answer.json(
                {
                    "content": " ".join("x" * int(n) for n in tokens if isinstance(n, int))
                    if isinstance(tokens, list)
                    else ""
                }
            )
        case "GET", "/props":
            return Answer.json(_props(state.settings))
    return None


def _completion(body: dict[str, object], settings: Settings) -> Answer:
    generation = Generation(body, settings)

    def part(content: str) -> dict[str, object]:
        return {"index": 0, "content": content, "stop": False}

    final = {
        "index": 0,
        "content": "" if body.get("stream") else generation.text,
        "stop": True,
        "model": generation.model,
        "tokens_predicted": generation.tokens,
        "tokens_evaluated": generation.prompt_tokens,
        "stop_type": "limit" if generation.finish_reason == "length" else "eos",
        "timings": generation.timings(),
    }
    if not body.get("stream"):
        return Answer.json(final, tokens=generation.tokens)
    return Answer(
        "text/event-stream",
        frames=(event(part(piece)) for piece in generation.pieces),
        epilogue=[event(final)],
    )


def _props(settings: Settings) -> dict[str, object]:
    return {
        "default_generation_settings": {"n_ctx": 4096},
        "total_slots": 1,
        "model_path": f"/nowhere/{settings.model or 'fake'}.gguf",
        "chat_template": "{{ messages }}",
    }
