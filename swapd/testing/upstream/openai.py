"""OpenAI's API as model servers speak it: chat, completions, embeddings, images, audio; and reranking."""

from __future__ import annotations

import base64
from collections.abc import Callable

from swapd.testing.upstream import media
from swapd.testing.upstream.answer import Answer
from swapd.testing.upstream.generation import Generation, count_words
from swapd.testing.upstream.settings import Settings
from swapd.testing.upstream.state import UpstreamState
from swapd.testing.upstream.wire import Request

_CREATED = 1_700_000_000


def answer(request: Request, state: UpstreamState) -> Answer | None:
    """The answer when the path is one of OpenAI's or a reranker's, else None."""
    if (handler := _ROUTES.get((request.method, request.path))) is None:
        return None
    return handler(request.json(), state.settings)


def _chat(body: dict[str, object], settings: Settings) -> Answer:
    generation = Generation(body, settings)
    if body.get("stream"):
        return _chat_stream(body, generation)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": generation.text},
        "finish_reason": generation.finish_reason,
    }
    whole = {**_envelope("chat.completion", generation), "choices": [choice]}
    return Answer.json(
        {**whole, "usage": generation.openai_usage(), "timings": generation.timings()},
        tokens=generation.tokens,
    )


def _chat_stream(body: dict[str, object], generation: Generation) -> Answer:
    base = _envelope("chat.completion.chunk", generation)

    def part(delta: dict[str, object], finish_reason: str | None = None) -> dict[str, object]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}

    return Answer.openai_stream(
        (part({"content": piece}) for piece in generation.pieces),
        prologue=[part({"role": "assistant", "content": None})],
        epilogue=_stream_end(body, part({}, generation.finish_reason), base, generation),
    )


def _completion(body: dict[str, object], settings: Settings) -> Answer:
    generation = Generation(body, settings)
    base = _envelope("text_completion", generation)

    def part(text: str, finish_reason: str | None = None) -> dict[str, object]:
        return {**base, "choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]}

    if body.get("stream"):
        return Answer.openai_stream(
            (part(piece) for piece in generation.pieces),
            epilogue=_stream_end(body, part("", generation.finish_reason), base, generation),
        )
    whole = part(generation.text, generation.finish_reason)
    return Answer.json(
        {**whole, "usage": generation.openai_usage(), "timings": generation.timings()},
        tokens=generation.tokens,
    )


def _envelope(kind: str, generation: Generation) -> dict[str, object]:
    return {"id": "fake-1", "object": kind, "created": _CREATED, "model": generation.model}


def _stream_end(
    body: dict[str, object], last: dict[str, object], base: dict[str, object], generation: Generation
) -> list[dict[str, object]]:
    """The last choice with llama.cpp's timings; then, when asked for, a chunk with nothing but the usage."""
    options = body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        usage = {**base, "choices": [], "usage": generation.openai_usage(), "timings": generation.timings()}
        return [last, usage]
    return [{**last, "timings": generation.timings()}]


def _embeddings(body: dict[str, object], settings: Settings) -> Answer:
    given = body.get("input", "")
    texts = given if isinstance(given, list) else [given]
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(str(text), settings.dimensions)}
        for index, text in enumerate(texts)
    ]
    tokens = max(1, count_words(texts))
    return Answer.json(
        {
            "object": "list",
            "model": settings.model or str(body.get("model", "fake")),
            "data": rows,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    from zlib import crc32

    raw = [crc32(f"{index}:{text}".encode()) / 2**31 - 1 for index in range(dimensions)]
    length = sum(x * x for x in raw) ** 0.5 or 1.0
    return [x / length for x in raw]


def _rerank(body: dict[str, object], settings: Settings) -> Answer:
    """Scores by the share of the query's words that a document contains; best first."""
    query = set(str(body.get("query", "")).lower().split())
    given = body.get("documents")
    documents = [str(document) for document in given] if isinstance(given, list) else []
    scored = [
        {"index": index, "relevance_score": len(query & set(text.lower().split())) / max(1, len(query))}
        for index, text in enumerate(documents)
    ]
    scored.sort(key=lambda row: -row["relevance_score"])
    tokens = max(1, count_words(documents) + len(query))
    return Answer.json(
        {
            "object": "list",
            "model": settings.model or str(body.get("model", "fake")),
            "results": scored,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _images(body: dict[str, object], settings: Settings) -> Answer:
    picture = base64.b64encode(media.png(64, 64)).decode()
    return Answer.json({"created": _CREATED, "data": [{"b64_json": picture}]}, tokens=settings.tokens)


def _stable_diffusion(body: dict[str, object], settings: Settings) -> Answer:
    picture = base64.b64encode(media.png(64, 64)).decode()
    return Answer.json({"images": [picture], "parameters": body, "info": ""}, tokens=settings.tokens)


def _speech(body: dict[str, object], settings: Settings) -> Answer:
    return Answer("audio/wav", media.wav_tone(), tokens=settings.tokens)


def _transcription(body: dict[str, object], settings: Settings) -> Answer:
    """A fixed text; the upload is not looked into."""
    generation = Generation({}, settings)
    usage = {"type": "tokens", "input_tokens": 10, "output_tokens": generation.tokens}
    return Answer.json({"text": generation.text, "usage": usage}, tokens=generation.tokens)


def _voices(body: dict[str, object], settings: Settings) -> Answer:
    return Answer.json({"voices": [{"id": "fake-alto", "name": "Alto"}, {"id": "fake-bass", "name": "Bass"}]})


def _models(body: dict[str, object], settings: Settings) -> Answer:
    record = {
        "id": settings.model or "fake",
        "object": "model",
        "created": _CREATED,
        "owned_by": "fake-upstream",
    }
    return Answer.json({"object": "list", "data": [record]})


_Handler = Callable[[dict[str, object], Settings], Answer]

_ROUTES: dict[tuple[str, str], _Handler] = {
    **{("POST", prefix + "/chat/completions"): _chat for prefix in ("", "/v1")},
    **{("POST", prefix + "/completions"): _completion for prefix in ("", "/v1")},
    **{("POST", prefix + "/embeddings"): _embeddings for prefix in ("", "/v1")},
    **{("POST", prefix + path): _rerank for prefix in ("", "/v1") for path in ("/rerank", "/reranking")},
    ("POST", "/v1/images/generations"): _images,
    ("POST", "/v1/images/edits"): _images,
    ("POST", "/sdapi/v1/txt2img"): _stable_diffusion,
    ("POST", "/sdapi/v1/img2img"): _stable_diffusion,
    ("POST", "/v1/audio/speech"): _speech,
    ("POST", "/v1/audio/transcriptions"): _transcription,
    ("GET", "/v1/audio/voices"): _voices,
    ("POST", "/v1/audio/voices"): _voices,
    ("GET", "/v1/models"): _models,
    ("GET", "/models"): _models,
}
