"""From a request to the steps of its answer: which API it is for, and which fault comes in between."""

from __future__ import annotations

from collections.abc import Callable

from swapd.testing.upstream import control, llamacpp, messages, openai, plain, responses
from swapd.testing.upstream.answer import Answer
from swapd.testing.upstream.state import Exchange, UpstreamState
from swapd.testing.upstream.steps import Close, Crash, Pause, Reset, Steps, Until
from swapd.testing.upstream.wire import LAST_CHUNK, Request, error_reply, head, json_reply, reply

_HANDLERS: tuple[Callable[[Request, UpstreamState], Answer | None], ...] = (
    openai.answer,
    messages.answer,
    responses.answer,
    llamacpp.answer,
    plain.answer,
)
"""Asked in turn; the first that knows the path answers."""

_UNRECORDED = ("/v1/models", "/models", "/props")
"""Questions about the server rather than to the model: not recorded, never held, never failed."""


def converse(request: Request, state: UpstreamState) -> Steps:
    """The steps that answer one request.

    The driver closes the generator when the client leaves first; the exchange is then recorded as aborted.
    """
    if request.path.startswith("/control/"):
        yield from control.answer(request, state)
    elif state.settings.never_answer:
        yield Until(lambda: False)
    elif not state.ready and state.settings.load_mode != "silent":
        yield error_reply(503, "Loading model", "unavailable_error")
    else:
        yield Until(lambda: state.ready)
        yield from _loaded(request, state)


def _loaded(request: Request, state: UpstreamState) -> Steps:
    if request.path == "/health":
        yield from _health(state)
    elif request.path in _UNRECORDED:
        yield from _whole(_answer(request, state), request, state)
    else:
        yield from _recorded(request, state)


def _health(state: UpstreamState) -> Steps:
    match state.settings.health:
        case "hang":
            yield Until(lambda: state.settings.health != "hang")
            yield from _health(state)
        case "redirect":
            yield reply(302, "text/plain", b"", ("Location", "/login"))
        case "error":
            yield error_reply(500, "the health check fails as told")
        case "reset":
            yield Reset()
        case _:
            yield json_reply(200, {"status": "ok"})


def _recorded(request: Request, state: UpstreamState) -> Steps:
    exchange = state.record(request)
    outcome = "aborted"
    try:
        yield from _faulty(request, exchange, state)
        outcome = "done"
    finally:
        state.finish(exchange, outcome)
    if state.settings.crash_after_requests == state.answered:
        yield Crash()


def _faulty(request: Request, exchange: Exchange, state: UpstreamState) -> Steps:
    """The answer, or the failure that the settings want in its place."""
    settings = state.settings
    answer = _answer(request, state)
    if settings.hold and not (answer.frames is not None and settings.hold_after):
        yield Until(lambda: exchange.released)
    if settings.crash_after_requests == 0:
        yield Crash()
    if settings.status:
        yield error_reply(settings.status, f"status {settings.status} as told")
    elif state.random.random() < settings.failure_rate:
        yield error_reply(500, "failed by chance, as told")
    elif answer.frames is not None:
        yield from _stream(answer, exchange, state)
    else:
        yield from _whole(answer, request, state)


def _whole(answer: Answer, request: Request, state: UpstreamState) -> Steps:
    settings = state.settings
    if answer.tokens:
        yield Pause(settings.first_token_s + (answer.tokens / settings.tps if settings.tps else 0.0))
    whole = reply(answer.status, answer.content_type, answer.body)
    yield whole.removesuffix(answer.body) if request.method == "HEAD" else whole


def _stream(answer: Answer, exchange: Exchange, state: UpstreamState) -> Steps:
    settings = state.settings
    assert answer.frames is not None
    yield _stream_head(answer) + b"".join(answer.prologue)
    yield Pause(settings.first_token_s)
    sent_bytes = 0
    for frame in answer.frames:
        if settings.hold and settings.hold_after == exchange.tokens_sent:
            yield Until(lambda: exchange.released)
        if settings.crash_in_stream == exchange.tokens_sent:
            yield Crash()
        if settings.tps and exchange.tokens_sent:
            yield Pause(_between_tokens(state))
        yield frame
        state.count_token(exchange)
        sent_bytes += len(frame)
    if answer.length is None:
        yield b"".join(answer.epilogue) + LAST_CHUNK
    elif sent_bytes < answer.length:
        yield Close()


def _stream_head(answer: Answer) -> bytes:
    framing = (
        ("Transfer-Encoding", "chunked") if answer.length is None else ("Content-Length", str(answer.length))
    )
    return head(
        answer.status, [("Content-Type", answer.content_type), ("Cache-Control", "no-cache"), framing]
    )


def _between_tokens(state: UpstreamState) -> float:
    settings = state.settings
    return (1 + settings.jitter * state.random.uniform(-1, 1)) / settings.tps


def _answer(request: Request, state: UpstreamState) -> Answer:
    for handler in _HANDLERS:
        if (answer := handler(request, state)) is not None:
            return answer
    return Answer.error(404, f"the fake upstream has no {request.method} {request.path}")
