"""What a request in Ollama's form is in OpenAI's."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from swapd.http.errors import Rejected

Json = dict[str, Any]

_OPTIONS: Final = {
    name: name
    for name in (
        *("temperature", "top_p", "top_k", "min_p", "seed", "stop"),
        *("presence_penalty", "frequency_penalty", "repeat_penalty"),
    )
}
_IMAGE_TYPES: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def chat_request(asked: Json, *, stream: bool) -> Json:
    """`/api/chat` as `/v1/chat/completions`. Raises `Rejected` if it cannot be understood."""
    body: Json = {"model": asked["model"], "messages": _messages(asked.get("messages"))}
    if asked.get("tools"):
        body["tools"] = asked["tools"]
    return {**body, **_common(asked, stream=stream)}


def generate_request(asked: Json, *, stream: bool) -> tuple[str, Json]:
    """`/api/generate` as a path and what to send there.

    A prompt is a user's message, so that the model's own template is applied to it; one that is `raw`, or has
    a suffix to lead to, goes to `/v1/completions`.
    """
    prompt = asked.get("prompt") or ""
    if not isinstance(prompt, str):
        raise _bad("prompt must be a string")
    common = _common(asked, stream=stream)
    if asked.get("raw") or asked.get("suffix"):
        body: Json = {"model": asked["model"], "prompt": prompt, **common}
        if asked.get("suffix"):
            body["suffix"] = asked["suffix"]
        return "/v1/completions", body
    messages: list[Json] = []
    if asked.get("system"):
        messages.append({"role": "system", "content": asked["system"]})
    messages.append({"role": "user", "content": _content(prompt, asked.get("images"))})
    return "/v1/chat/completions", {"model": asked["model"], "messages": messages, **common}


def embed_request(asked: Json, given: Any) -> Json:
    """`/api/embed` and `/api/embeddings` as `/v1/embeddings`, for the text or texts `given`."""
    if not isinstance(given, str) and not (
        isinstance(given, list) and all(isinstance(text, str) for text in given)
    ):
        raise _bad("input must be a string or a list of strings")
    body: Json = {"model": asked["model"], "input": given, "encoding_format": "float"}
    if asked.get("dimensions"):
        body["dimensions"] = asked["dimensions"]
    return body


def wants_unload(asked: Json) -> bool:
    """Whether `keep_alive` says that the model shall go at once: a time of zero, however it is written."""
    keep_alive = asked.get("keep_alive")
    if isinstance(keep_alive, str):
        return keep_alive.rstrip("hmsuµn") in ("0", "0.0")
    return isinstance(keep_alive, int | float) and not isinstance(keep_alive, bool) and keep_alive == 0


def _common(asked: Json, *, stream: bool) -> Json:
    body: Json = {"stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    options = asked.get("options") or {}
    if not isinstance(options, Mapping):
        raise _bad("options must be an object")
    body |= {_OPTIONS[name]: value for name, value in options.items() if name in _OPTIONS}
    limit = options.get("num_predict")
    if isinstance(limit, int) and limit >= 0:
        body["max_tokens"] = limit
    form = asked.get("format")
    if form == "json":
        body["response_format"] = {"type": "json_object"}
    elif isinstance(form, Mapping):
        schema = {"name": "output", "schema": form}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    think = asked.get("think")
    if isinstance(think, bool):
        body["chat_template_kwargs"] = {"enable_thinking": think}
    elif isinstance(think, str):
        body["reasoning_effort"] = think
    return body


def _messages(given: Any) -> list[Json]:
    if not isinstance(given, list) or not all(isinstance(message, dict) for message in given):
        raise _bad("messages must be a list of objects")
    translated: list[Json] = []
    call_ids: dict[str, str] = {}
    for message in given:
        role = message.get("role", "user")
        out: Json = {"role": role, "content": _content(message.get("content") or "", message.get("images"))}
        if message.get("tool_calls"):
            out["tool_calls"] = _tool_calls(message["tool_calls"], len(translated), call_ids)
        if role == "tool":
            name = str(message.get("tool_name") or message.get("name") or "")
            out["tool_call_id"] = message.get("tool_call_id") or call_ids.get(name, f"call_{name}")
        translated.append(out)
    return translated


def _tool_calls(given: Any, position: int, call_ids: dict[str, str]) -> list[Json]:
    """Calls with the ids and the arguments, as text, that OpenAI wants; which id a name got is noted."""
    if not isinstance(given, list):
        raise _bad("tool_calls must be a list")
    calls: list[Json] = []
    for number, call in enumerate(given):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise _bad("a tool call must be an object with a function")
        name = str(function.get("name", ""))
        id = call_ids[name] = f"call_{position}_{number}"
        arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
        calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    return calls


def _content(text: Any, images: Any) -> Any:
    """A message's content: plain text, or parts if there are images with it."""
    if not isinstance(text, str):
        raise _bad("content must be a string")
    if not images:
        return text
    if not isinstance(images, Sequence) or not all(isinstance(image, str) for image in images):
        raise _bad("images must be a list of base64 strings")
    parts: list[Json] = [{"type": "text", "text": text}] if text else []
    urls = (image if image.startswith("data:") else _data_url(image) for image in images)
    return [*parts, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]


def _data_url(image: str) -> str:
    try:
        begin = base64.b64decode(image[:16], validate=True)
    except binascii.Error:
        raise _bad("an image is not base64") from None
    kind = next((kind for magic, kind in _IMAGE_TYPES if begin.startswith(magic)), "image/png")
    return f"data:{kind};base64,{image}"


def _bad(message: str) -> Rejected:
    return Rejected.with_code("bad_request", message)
