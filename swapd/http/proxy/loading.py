"""The loading stream: while a model is made ready, its streamed chat answer has begun, and tells how it goes.

People see that something happens, as reasoning of the model; clients and proxies in between see bytes and do
not give up. One task waits for the model and writes in between, so nothing is written after the model's own
answer has taken over, or after the client has left.

A stream that swapd has begun can say why it ends: an error is an event in it, and no `[DONE]` follows. (Every
other broken answer breaks the connection.)
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import trio
from msgspec import Struct

from swapd.http.errors import ErrorAnswer, Rejected, envelope_error, request_id
from swapd.http.proxy.relay import Incoming, Relay
from swapd.http.server.asgi import Headers, Scope, Send
from swapd.nursery.events import StateChanged, SwapDecided
from swapd.nursery.lease import Lease
from swapd.nursery.manager import ManagerEvent
from swapd.nursery.states import ModelState

TICK_S = 0.75
FIRST_REMARK_S = 2.0
REMARKS_APART_S = (5.0, 9.0)
RULE = "━━━━━"
MAX_WHOLE_BODY = 16 * 1024 * 1024
"""Bytes of an answer that is no stream, and so has to become one event."""

_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    (b"connection", b"keep-alive"),
]
_DONE = b"data: [DONE]\n\n"

LOADING = "swapd.loading"
"""The key under which a request's scope holds the `LoadingRelay` that has begun to answer it."""

Acquire = Callable[[Callable[[Lease], None]], Awaitable[Lease]]
"""Waits for a lease; calls what it is given if the request has been admitted and has to wait."""


class Loading(Struct, eq=False):
    """What a loading stream is about."""

    requested: str
    """The model's name as the client wrote it."""
    remarks: Sequence[str] = ()


class LoadingRelay(Relay):
    """An answer that begins before there is anything to relay.

    Until `begin` it is a plain relay. The mutable state beyond that of `Relay` is the news to tell next.
    """

    def __init__(self, scope: Scope, send: Send, model: str, about: Loading) -> None:
        super().__init__(scope, send)
        self._model = model
        self._about = about
        self._chunk: dict[str, Any] = {}
        self._news = ""
        self._aloud = False
        self._whole: bytes | None = None

    # -- waiting ---------------------------------------------------------------------------------------------

    async def acquire(self, acquire: Acquire) -> Lease:
        """Wait for the lease, telling the client how it goes. Raises `Rejected` if there is none to be had.

        Cancelling it gives the ticket, or the lease, back.
        """
        waiting, decided = trio.Event(), trio.Event()
        began = trio.current_time()
        ticket: Lease | None = None
        outcome: Lease | Rejected | None = None

        def has_to_wait(lease: Lease) -> None:
            nonlocal ticket
            ticket = lease
            waiting.set()

        async def wait() -> None:
            nonlocal outcome
            try:
                outcome = await acquire(has_to_wait)
            except Rejected as rejected:
                outcome = rejected
            decided.set()
            waiting.set()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await waiting.wait()
                if not decided.is_set():
                    assert ticket is not None
                    await self._narrate(ticket, decided, began)
            if isinstance(outcome, Rejected):
                raise outcome
            assert outcome is not None
            if self._aloud:
                await self._say(f"\nDone! ({trio.current_time() - began:.2f}s)\n{RULE}\n \n")
            return outcome
        except BaseException as error:
            if isinstance(outcome, Lease):
                outcome.release()
            if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                raise error.exceptions[0] from None
            raise

    def on_event(self, event: ManagerEvent) -> None:
        """What happens to the models, as far as this client may want to know."""
        match event:
            case SwapDecided(target, evicted, _) if target == self._model and evicted:
                self._news = f"Stopping {', '.join(evicted)}"
            case StateChanged(model, _, ModelState.STARTING) if model == self._model:
                self._news = "Starting"
            case _:
                pass

    async def _narrate(self, ticket: Lease, decided: trio.Event, began: float) -> None:
        """Say every `TICK_S` how it goes, until the ticket is decided."""
        await self._start()
        remarks = _shuffled(self._about.remarks)
        next_remark = began + FIRST_REMARK_S
        position: int | None = None
        while True:
            with trio.move_on_after(TICK_S):
                await decided.wait()
            if decided.is_set():
                break
            now = trio.current_time()
            if ticket.position is not None and ticket.position != position:
                position = ticket.position
                text = f"Queue position: #{position}\n"
            elif self._news:
                text, self._news = f"{self._news} ({now - began:.0f}s)\n", ""
            elif now >= next_remark and (remark := next(remarks, "")):
                text = f"\n{remark}\n"
            else:
                await self._say(".")
                continue
            await self._say(text)
            next_remark = max(next_remark, now) + random.uniform(*REMARKS_APART_S)

    async def _start(self) -> None:
        self._aloud = self.begun = True
        self._scope[LOADING] = self
        self._record.status = HTTPStatus.OK
        self._chunk = {
            "id": f"chatcmpl-{request_id(self._scope)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self._about.requested,
        }
        headers = _HEADERS if self._scope["http_version"].startswith("1") else _HEADERS[:-1]
        id_header = (b"x-request-id", request_id(self._scope).encode("ascii"))
        if (request := self._record.request) is not None:
            self._tap = request.begin_response([*headers, id_header])
        await self._send({"type": "http.response.start", "status": 200, "headers": [*headers, id_header]})
        await self._say(f"{RULE}\nswapd loading model: {self._model}\n")

    async def _say(self, text: str) -> None:
        choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
        await self._write(_event({**self._chunk, "choices": [choice]}))

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        self._record.bytes_sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    # -- the model's own answer ------------------------------------------------------------------------------

    async def _begin(self, response: Incoming) -> None:
        if not self._aloud:
            await super()._begin(response)

    async def pass_on(self, response: Incoming) -> None:
        """As of `Relay`. An answer that is no event stream is collected, to become an event."""
        if not self._aloud or _is_stream(response):
            await super().pass_on(response)
            return
        self._response = response
        collected = bytearray(response.take())
        while not response.ended:
            collected += await response.receive()
            del collected[MAX_WHOLE_BODY:]
        self._whole = bytes(collected)

    async def finish(self) -> None:
        """Send what is left, once `pass_on` has returned."""
        if self._whole is None:
            await super().finish()
            return
        response = self._response
        assert response is not None
        if response.status != HTTPStatus.OK:
            self._record.status = response.status
            await self._write(_error_event(_upstream_error(response.status, self._whole)), more=False)
            return
        line = b" ".join(self._whole.split(b"\n")) if self._whole else b"{}"
        await self._write(b"data: " + line + b"\n\n" + _DONE, more=False)

    async def fail(self, failure: ErrorAnswer) -> None:
        """End the answer with an error. Raises `Rejected` as long as nothing was told."""
        if not self._aloud:
            await super().fail(failure)
            return
        self._record.status = failure.status
        if self._response is not None:
            await self._write(b"\n\n")  # it may have broken off in the middle of an event
        await self._say(f"Failed: {failure.message}\n")
        await self._write(_error_event({**envelope_error(failure), "status": failure.status}), more=False)


def _is_stream(response: Incoming) -> bool:
    return response.status == HTTPStatus.OK and any(
        name == b"content-type" and b"text/event-stream" in value.lower() for name, value in response.headers
    )


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _error_event(error: dict[str, Any]) -> bytes:
    return _event({"error": error})


def _upstream_error(status: int, body: bytes) -> dict[str, Any]:
    """An upstream's error as the `error` of an event: its own if it can be read, else its text."""
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        given = None
    error = given.get("error") if isinstance(given, dict) else None
    if isinstance(error, dict):
        return {"param": None, **error, "status": status}
    told = error if isinstance(error, str) else body[:2048].decode("utf-8", "replace")
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"message": told, "type": kind, "param": None, "code": "upstream_error", "status": status}


def _shuffled(remarks: Sequence[str]) -> Iterator[str]:
    """The remarks in changing order, none again before all have come."""
    while remarks:
        yield from random.sample(remarks, len(remarks))
