"""Loading streams: S54, S55 and S56, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.nursery.events import Refusal, RefusalCode, Revocation, StateChanged, SwapDecided
from swapd.nursery.states import ModelState
from tests.unit.http.proxy.fakes import FakeManager, World
from tests.unit.http.upstream.scripted import Peer, Request, serving

CONFIG = """
sendLoadingState: true
loadingRemarks: [remark one, remark two]
models:
  m1: {cmd: serve m1, proxy: "http://127.0.0.1:9", aliases: [nick]}
  quiet: {cmd: serve quiet, proxy: "http://127.0.0.1:9", sendLoadingState: false}
"""
STREAM = b'{"model":"nick","stream":true}'
EVENTS = b'data: {"x":1}\n\ndata: [DONE]\n\n'


class Upstream:
    """Answers with the bytes it is given, and remembers the requests."""

    def __init__(
        self, content_type: bytes = b"text/event-stream", body: bytes = EVENTS, status: int = 200
    ) -> None:
        self.requests: list[Request] = []
        self._response = b"HTTP/1.1 %d X\r\nContent-Type: %b\r\nX-Own: 1\r\nContent-Length: %d\r\n\r\n%b" % (
            status,
            content_type,
            len(body),
            body,
        )

    async def __call__(self, peer: Peer) -> None:
        while True:
            self.requests.append(await peer.request())
            await peer.send(self._response)


@pytest.fixture
def clock() -> MockClock:
    return MockClock()


@asynccontextmanager
async def world(script: Any) -> AsyncIterator[World]:
    async with serving(script) as server:
        world = World(FakeManager(server.url), CONFIG)
        world.manager.ready = False
        yield world
        await world.proxy.aclose()
        assert world.manager.held == []
        assert world.manager.subscribers == 0


def told(body: bytes) -> list[str]:
    """The reasoning of each event that has some."""
    texts = []
    for event in body.split(b"\n\n"):
        if event.startswith(b"data: {"):
            choices = json.loads(event[6:]).get("choices") or [{}]
            text = choices[0].get("delta", {}).get("reasoning_content")
            if text is not None:
                texts.append(text)
    return texts


async def settle() -> None:
    await wait_all_tasks_blocked(0.02)


async def test_s54_given_a_model_that_loads_when_streamed_then_the_client_is_told_and_gets_its_bytes(
    clock: MockClock,
) -> None:
    upstream = Upstream()
    async with world(upstream) as w, trio.open_nursery() as nursery:
        headers = {"accept-encoding": "gzip"}
        nursery.start_soon(lambda: w.post(STREAM, **headers))
        await settle()
        assert w.answer.status == 200
        assert dict(w.answer.headers)[b"content-type"] == b"text/event-stream"
        assert dict(w.answer.headers)[b"cache-control"] == b"no-cache"
        assert dict(w.answer.headers)[b"x-accel-buffering"] == b"no"
        assert told(w.answer.body) == ["━━━━━\nswapd loading model: m1\n"]
        for _ in range(5):  # 3.75 s
            clock.jump(0.75)
            await settle()
        w.manager.open()
    texts = told(w.answer.body)
    assert texts[1:3] == [".", "."]
    assert texts[3].strip() in ("remark one", "remark two")  # at 2.25 s, no earlier than 2 s
    assert texts[4:6] == [".", "."]
    assert texts[6] == "\nDone! (3.75s)\n━━━━━\n \n"
    assert w.answer.body.endswith(EVENTS)
    assert w.answer.complete
    first = json.loads(w.answer.chunks[0][6:])
    assert (first["object"], first["model"]) == ("chat.completion.chunk", "nick")
    assert first["choices"][0]["finish_reason"] is None
    assert upstream.requests[0].headers[b"accept-encoding"] == b"identity"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b'{"model":"m1"}'),
        ("/v1/chat/completions", b'{"model":"quiet","stream":true}'),
        ("/v1/completions", STREAM),
        ("/v/chat/completions", STREAM),
        ("/upstream/m1/v1/chat/completions", STREAM),
    ],
)
async def test_s54_given_anything_else_then_there_is_no_loading_output(path: str, body: bytes) -> None:
    async with world(Upstream()) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, body, path)
        await settle()
        assert w.answer.status == 0
        w.manager.open()
    assert w.answer.body == EVENTS
    assert dict(w.answer.headers)[b"x-own"] == b"1"


async def test_s54_given_a_ready_model_then_there_is_no_loading_output() -> None:
    async with world(Upstream()) as w:
        w.manager.ready = True
        await w.post(STREAM)
    assert w.answer.body == EVENTS


async def test_given_a_refusal_before_admission_then_it_is_a_plain_error() -> None:
    async with world(Upstream()) as w:
        w.manager.refusals.append(Refusal(RefusalCode.CONCURRENCY_LIMIT, "Too many requests", 1))
        await w.post(STREAM)
    assert w.answer.status == 429


async def test_s55_given_a_start_that_fails_then_an_error_event_is_the_last() -> None:
    async with world(Upstream()) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, STREAM)
        await settle()
        w.manager.refusals.append(Refusal(RefusalCode.START_FAILED, "no such weights"))
        w.manager.open()
    assert w.answer.status == 200
    assert w.answer.complete
    assert told(w.answer.body)[-1] == "Failed: no such weights\n"
    assert "Done" not in "".join(told(w.answer.body))
    last = json.loads(w.answer.body.strip().split(b"\n\n")[-1][6:])
    assert last["error"] == {
        "message": "no such weights",
        "type": "server_error",
        "param": None,
        "code": "upstream_start_failed",
        "status": 502,
    }
    assert b"[DONE]" not in w.answer.body
    assert w.record.status == 502


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"bad","type":"t","code":7}}', "bad"),
        (b'{"error":"bad"}', "bad"),
        (b"plain text", "plain text"),
    ],
)
async def test_s55_given_an_upstream_that_answers_400_then_that_is_the_error_event(
    body: bytes, message: str
) -> None:
    async with world(Upstream(b"application/json", body, 400)) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, STREAM)
        await settle()
        w.manager.open()
    last = json.loads(w.answer.body.strip().split(b"\n\n")[-1][6:])
    assert (last["error"]["message"], last["error"]["status"]) == (message, 400)
    assert b"[DONE]" not in w.answer.body
    assert w.record.status == 400


async def test_given_an_upstream_that_does_not_stream_then_its_answer_is_one_event() -> None:
    async with world(Upstream(b"application/json", b'{\n "x": 1 }')) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, STREAM)
        await settle()
        w.manager.open()
    assert w.answer.body.endswith(b'data: {  "x": 1 }\n\ndata: [DONE]\n\n')


async def test_s55_given_a_client_that_leaves_then_nothing_more_is_written(clock: MockClock) -> None:
    async with world(Upstream()) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, STREAM)
        await settle()
        written = len(w.answer.chunks)
        nursery.cancel_scope.cancel()
    clock.jump(5)
    assert len(w.answer.chunks) == written
    assert w.manager.granted == 0


@pytest.mark.parametrize("why", [Revocation.SHUTTING_DOWN, Revocation.CANCELLED])
async def test_given_a_stream_of_ours_that_is_cut_then_it_says_why(why: Revocation) -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {")
        await trio.sleep_forever()

    async with world(half) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, STREAM)
        await settle()
        w.manager.open()
        await settle()
        assert w.answer.body.endswith(b"data: {")
        w.manager.revoke(why)
    last = json.loads(w.answer.body.strip().split(b"\n\n")[-1][6:])
    assert last["error"]["status"] in (499, 503)
    assert w.answer.complete


async def test_s56_given_a_queue_then_the_newest_position_is_shown_when_it_changes(clock: MockClock) -> None:
    async with world(Upstream()) as w, trio.open_nursery() as nursery:
        nursery.start_soon(w.post, STREAM)
        await settle()
        (ticket,) = w.manager.tickets
        for position in (3, 3, 2, 1):
            ticket.position = position
            clock.jump(0.75)
            await settle()
        w.manager.publish(SwapDecided("m1", ("other",), "because"))
        clock.jump(0.75)
        await settle()
        w.manager.publish(StateChanged("m1", ModelState.STOPPED, ModelState.STARTING, 1))
        clock.jump(0.75)
        await settle()
        w.manager.open()
    texts = [text for text in told(w.answer.body) if text != "."]
    assert texts[1:4] == ["Queue position: #3\n", "Queue position: #2\n", "Queue position: #1\n"]
    assert texts[4:6] == ["Stopping other (4s)\n", "Starting (4s)\n"]
