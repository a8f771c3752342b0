"""Requests through the proxy, between a fake manager and a scripted upstream on a real socket."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapd.http.proxy.routes import MODEL_ROUTES
from swapd.nursery.events import Crashed, Refusal, RefusalCode, Revocation, StateChanged
from swapd.nursery.states import ModelState
from tests.unit.http.proxy.fakes import FakeManager, World
from tests.unit.http.upstream.scripted import OK, Peer, Request, Script, Server, serving

MB = 1024 * 1024

CONFIG = """
maxRequestBody: 1MB
models:
  m1:
    cmd: serve m1
    aliases: [nick]
    proxy: http://127.0.0.1:9
  a/b:
    cmd: serve ab
    proxy: http://127.0.0.1:9
    useModelName: real
  slow:
    cmd: serve slow
    proxy: http://127.0.0.1:9
    timeouts: {responseHeader: 1}
"""


class Echo:
    """A script that answers every request and remembers what arrived."""

    def __init__(self, response: bytes = OK) -> None:
        self.requests: list[Request] = []
        self._response = response

    async def __call__(self, peer: Peer) -> None:
        while True:
            self.requests.append(await peer.request())
            await peer.send(self._response)


@asynccontextmanager
async def world(*scripts: Script, base: str = "") -> AsyncIterator[tuple[World, Server]]:
    """A proxy in front of a scripted upstream. At the end every lease must have been given back."""
    async with serving(*scripts) as server:
        world = World(FakeManager(server.url + base), CONFIG)
        try:
            yield world, server
        finally:
            await world.proxy.aclose()
        assert world.manager.held == []
        assert world.manager.subscribers == 0


# -- being served --------------------------------------------------------------------------------------------


async def test_given_a_model_when_asked_then_body_and_answer_pass_unchanged() -> None:
    response = (
        b"HTTP/1.1 418 Tea\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4\r\n\r\nbrew"
    )
    echo = Echo(response)
    body = b' { "model" : "nick", "seed": 12345678901234567890, "t": 1.0 } '
    async with world(echo) as (w, server):
        answer = await w.post(body, host="swapd:8080", user_agent="test", x_request_id="id-1")
        await w.post(body)
        assert len(server.peers) == 1

    assert (answer.status, answer.body, answer.complete) == (418, b"brew", True)
    assert answer.headers == [
        (b"x-a", b"1"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"4"),
        (b"x-request-id", b"id-1"),
    ]
    request, without_host = echo.requests
    assert (request.line, request.body) == (b"POST /v1/chat/completions HTTP/1.1", body)
    assert request.headers == {
        b"host": b"swapd:8080",
        b"content-type": b"application/json",
        b"user-agent": b"test",
        b"accept-encoding": b"identity",
        b"x-forwarded-for": b"192.0.2.7",
        b"x-request-id": b"id-1",
        b"content-length": b"%d" % len(body),
    }
    assert without_host.headers[b"host"] == server.url.removeprefix("http://").encode()
    assert (w.record.status, w.record.bytes_sent) == (418, 4)


@pytest.mark.parametrize("path", sorted(MODEL_ROUTES))
async def test_given_a_model_route_when_asked_then_our_prefix_is_removed_and_the_query_kept(
    path: str,
) -> None:
    echo = Echo()
    async with world(echo, base="/base") as (w, _):
        for method in sorted(MODEL_ROUTES[path]):
            query = "?x=%2F" if method == "POST" else "?model=m1&x=%2F"
            body = b'{"model":"m1"}' if method == "POST" else b""
            answer = await w.ask(method, path + query, body, {"content-type": "application/json"})
            assert answer.status == 200
            expected = path.removeprefix("/audioapi")
            expected = expected[2:] if expected.startswith("/v/") else expected
            assert echo.requests[-1].line == f"{method} /base{expected}{query} HTTP/1.1".encode()


async def test_given_a_model_with_another_name_upstream_when_asked_then_only_that_name_changes() -> None:
    echo = Echo()
    async with world(echo) as (w, _):
        await w.post(b'{"model":"a/b","x":1}')
        await w.post(b'{"x":{"model":"a/b"}, "model" : "a/b" ,"model":"a/b"')
        await w.ask("POST", "/v1/audio/speech?model=a/b", b"sound", {"content-type": "audio/wav"})
    assert [request.body for request in echo.requests] == [
        b'{"model":"real","x":1}',
        b'{"x":{"model":"a/b"}, "model" : "real" ,"model":"a/b"',
        b"sound",
    ]
    assert echo.requests[0].headers[b"content-length"] == b"22"


async def test_given_a_body_in_pieces_when_asked_then_it_arrives_in_one_with_its_length() -> None:
    echo = Echo()
    body = b'{"model":"m1","x":"' + b"y" * 200_000 + b'"}'
    async with world(echo) as (w, _):
        pieces = [body[:5], b"", body[5:100_000], body[100_000:]]
        headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
        answer = await w.ask("POST", "/v1/chat/completions", pieces, headers)
    assert answer.status == 200
    assert echo.requests[0].body == body
    assert echo.requests[0].headers[b"content-length"] == b"%d" % len(body)
    assert b"transfer-encoding" not in echo.requests[0].headers


async def test_given_an_event_stream_when_relayed_then_head_and_events_come_as_they_are_made() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            await steps[number].wait()
            await peer.send(b"9\r\ndata: %d\n\n\r\n" % number)
        await steps[3].wait()
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    steps = [trio.Event() for _ in range(4)]
    async with world(script) as (w, _), trio.open_nursery() as nursery:
        nursery.start_soon(w.post, b'{"model":"m1","stream":true}')
        await wait_all_tasks_blocked(0.02)
        answer = w.answer
        assert (answer.status, answer.header(b"x-accel-buffering"), answer.body) == (200, b"no", b"")
        assert b"transfer-encoding" not in dict(answer.headers)
        for number in range(3):
            steps[number].set()
            await wait_all_tasks_blocked(0.02)
            assert answer.chunks[-1] == b"data: %d\n\n" % number
            assert not answer.complete
        steps[3].set()
        await wait_all_tasks_blocked(0.02)
        assert answer.complete


async def test_given_a_stream_when_its_pieces_arrive_then_they_count_as_signs_of_life() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await more.wait()
        await peer.send(b"3\r\none\r\n")
        await peer.gone()

    more = trio.Event()
    async with world(script) as (w, _), trio.open_nursery() as nursery:
        nursery.start_soon(w.post, b'{"model":"m1","stream":true}')
        await wait_all_tasks_blocked(0.02)
        activity = w.manager.held[0].activity
        after_the_head = activity.chunks
        more.set()
        await wait_all_tasks_blocked(0.02)
        after_a_piece = activity.chunks
        nursery.cancel_scope.cancel()
    assert 0 < after_the_head < after_a_piece


async def test_given_a_long_stream_when_relayed_then_every_byte_arrives() -> None:
    generator = random.Random(4)
    pieces = [generator.randbytes(generator.randrange(1, 200_000)) for _ in range(50)]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")

    async with world(script) as (w, _):
        answer = await w.post(b'{"model":"m1"}')
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(b"".join(pieces)).digest()
    assert w.record.bytes_sent == len(answer.body)


async def test_given_announced_trailers_when_relayed_then_they_follow_the_body() -> None:
    response = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    async with world(Echo(response)) as (w, _):
        answer = await w.post(b'{"model":"m1"}')
        assert (answer.header(b"trailer"), answer.trailers) == (b"X-Sum", [(b"x-sum", b"7")])
        answer = await w.ask("POST", "/v1/completions?model=m1", b"", extensions={})
        assert (answer.header(b"trailer"), answer.trailers, answer.body) == (None, [], b"ok")


async def test_given_a_client_that_reads_slowly_when_relaying_then_the_upstream_is_not_read_ahead() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.send(bytes(MB))
            sent += 1

    async def stall(message: dict[str, Any]) -> None:
        if message.get("body"):
            await trio.sleep_forever()

    async with world(script) as (w, _), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: w.ask("POST", "/v1/completions?model=m1", b"", send=stall))
        await wait_all_tasks_blocked(0.05)
        before = sent
        await wait_all_tasks_blocked(0.05)
        assert sent == before < 32
        assert w.answer.body == b""
        nursery.cancel_scope.cancel()


async def test_given_a_complete_response_when_the_client_is_slow_then_the_lease_is_given_back_at_once() -> (
    None
):
    async def stall(message: dict[str, Any]) -> None:
        await trio.sleep_forever()

    async with world(Echo()) as (w, _), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: w.ask("POST", "/v1/completions?model=m1", b"", send=stall))
        await wait_all_tasks_blocked(0.02)
        assert (w.manager.granted, w.manager.held) == (1, [])
        nursery.cancel_scope.cancel()


# -- being turned away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{}", 404, "no model id could be identified"),
        (b"not json", 404, "no model id could be identified"),
        (b"", 404, "no model id could be identified"),
        (b'{"model":"zzz"}', 404, "no router for requested model"),
        (b'{"model":" m1"}', 404, "no router for requested model"),
    ],
)
async def test_given_no_known_model_when_asked_then_nobody_is_disturbed(
    body: bytes, status: int, message: str
) -> None:
    async with world(Echo()) as (w, server):
        answer = await w.post(body)
        assert (w.manager.granted, server.peers) == (0, [])
    assert answer.status == status
    assert json.loads(answer.body)["error"]["message"] == message
    assert w.record.status == status


async def test_given_a_body_over_the_limit_when_asked_then_it_is_refused_without_being_read() -> None:
    async with world(Echo()) as (w, _):
        taken = 0

        def endless() -> Any:
            nonlocal taken
            while taken < 1000:
                taken += 1
                yield bytes(100_000)

        announced = await w.ask(
            "POST", "/v1/completions", [b"x"], {"content-length": str(MB + 1)}, disconnect=True
        )
        counted = await w.ask("POST", "/v1/completions", list(endless())[:12], disconnect=True)
    for answer in (announced, counted):
        assert answer.status == 413
        error = json.loads(answer.body)["error"]
        assert (error["code"], error["type"]) == ("request_too_large", "invalid_request_error")
        assert "maxRequestBody" in error["message"]


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (Refusal(RefusalCode.CONCURRENCY_LIMIT, "Too many requests", 1), 429, b"1"),
        (Refusal(RefusalCode.START_FAILED, "exit status 1\nno such file"), 502, None),
        (Refusal(RefusalCode.START_TIMEOUT, "health check timed out"), 504, None),
        (Refusal(RefusalCode.QUEUE_TIMEOUT, "queued", 12), 503, b"12"),
        (Refusal(RefusalCode.NOT_FOUND, "no router for requested model"), 404, None),
    ],
)
async def test_given_a_refusal_when_asked_then_the_client_is_told_why_and_when(
    refusal: Refusal, status: int, retry_after: bytes | None
) -> None:
    async with world(Echo()) as (w, server):
        w.manager.refusals.append(refusal)
        answer = await w.post(b'{"model":"m1"}')
        assert server.peers == []
    assert (answer.status, answer.header(b"retry-after")) == (status, retry_after)
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["message"]) == (refusal.code.value, refusal.message)


async def test_given_a_model_that_is_loading_when_asked_then_the_request_waits_for_it() -> None:
    async with world(Echo()) as (w, server), trio.open_nursery() as nursery:
        w.manager.ready = False
        nursery.start_soon(lambda: w.post(b'{"model":"m1"}', x_swapd_queue_timeout="2.5"))
        await wait_all_tasks_blocked(0.02)
        assert (w.manager.asked, server.peers) == ([("m1", False, 2.5)], [])
        w.manager.open()
        await wait_all_tasks_blocked(0.02)
        assert w.answer.body == b"ok"


@pytest.mark.parametrize("value", ["", "soon", "-1", "0", "inf", "nan"])
async def test_given_a_queue_timeout_that_is_none_when_asked_then_it_is_ignored(value: str) -> None:
    async with world(Echo()) as (w, _):
        w.manager.ready = False
        w.manager.open()
        await w.post(b'{"model":"m1"}', x_swapd_queue_timeout=value)
        assert w.manager.asked == [("m1", False, None)]


# -- when the upstream fails ---------------------------------------------------------------------------------


async def hang_up(peer: Peer) -> None:
    await peer.request()


async def break_off(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")
    await trio.lowlevel.checkpoint()


async def test_given_an_upstream_that_hangs_up_when_asked_then_the_cause_is_told() -> None:
    async with world(hang_up) as (w, server):
        answer = await w.post(b'{"model":"m1"}')
        assert len(server.peers) == 1
    assert answer.status == 502
    error = json.loads(answer.body)["error"]
    assert error["code"] == "upstream_unreachable"
    assert error["message"] == "upstream error: closed the connection before its response"
    assert [entry.event for entry in w.log] == ["upstream.failed"]


async def test_given_an_upstream_that_dies_when_asked_then_its_last_words_are_told() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        nursery.start_soon(report)

    async def report() -> None:
        w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPED, 1))
        w.manager.publish(
            Crashed("m1", 1, "upstream command exited prematurely: exit status 1\nCUDA error", None)
        )

    async with world(script) as (w, _), trio.open_nursery() as nursery:
        answer = await w.post(b'{"model":"m1"}')
    assert answer.status == 502
    message = json.loads(answer.body)["error"]["message"]
    assert message.startswith("upstream error: closed the connection before its response\n")
    assert message.endswith("exit status 1\nCUDA error")


async def test_given_an_upstream_that_talks_rubbish_when_asked_then_that_is_a_bad_gateway() -> None:
    async with world(Echo(b"\x16\x03\x01 nonsense\r\n\r\n")) as (w, _):
        answer = await w.post(b'{"model":"m1"}')
    assert answer.status == 502
    assert b"not a valid HTTP/1.1 response" in answer.body


async def test_given_an_upstream_that_takes_too_long_when_asked_then_that_is_a_timeout(
    autojump_clock: object,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with world(script) as (w, server):
        answer = await w.post(b'{"model":"slow"}')
        await server.peers[0].left.wait()
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (504, "upstream_timeout")
    assert answer.header(b"retry-after") is None


async def test_given_a_response_that_breaks_off_when_relayed_then_it_is_not_completed() -> None:
    async with world(break_off) as (w, _):
        answer = await w.post(b'{"model":"m1"}')
    assert (answer.status, answer.body, answer.complete) == (200, b"hal", False)
    assert "broke off" in w.log[0].message


async def test_given_an_unusable_base_url_when_asked_then_the_error_names_it() -> None:
    async with world(Echo()) as (w, _):
        w.manager.base_url = "https://gpu.example"
        answer = await w.post(b'{"model":"m1"}')
    assert answer.status == 502
    assert b"https://gpu.example" in answer.body


async def test_given_an_instance_gone_before_anything_was_sent_when_asked_then_another_one_serves() -> None:
    async with world(Echo()) as (w, server):
        w.manager.base_url = "http://127.0.0.1:1"  # the port of tcpmux, where nobody is
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"m1"}')
            await wait_all_tasks_blocked()
            w.manager.revoke(Revocation.UPSTREAM_LOST)
            w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPED, 1))
            w.manager.gen, w.manager.base_url = 2, server.url
        assert (w.answer.status, w.answer.body, w.manager.again) == (200, b"ok", 1)


async def test_given_an_instance_gone_twice_when_asked_then_the_client_is_told_to_try_again() -> None:
    async with world(Echo()) as (w, _):
        w.manager.base_url = "http://127.0.0.1:1"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"m1"}')
            for gen in (1, 2):
                await wait_all_tasks_blocked()
                w.manager.gen = gen + 1
                w.manager.revoke(Revocation.UPSTREAM_LOST)
                w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPED, gen))
    answer = w.answer
    assert (answer.status, answer.header(b"retry-after"), w.manager.again) == (503, b"1", 1)
    assert json.loads(answer.body)["error"]["code"] == "process_not_ready"
    assert json.loads(answer.body)["error"]["message"] == "[m1] process is not ready"


async def test_given_an_instance_that_refuses_but_lives_when_asked_then_it_is_unreachable(
    autojump_clock: object,
) -> None:
    async with world(Echo()) as (w, _):
        w.manager.base_url = "http://127.0.0.1:1"
        answer = await w.post(b'{"model":"m1"}')
    assert (answer.status, w.manager.again) == (502, 0)
    assert json.loads(answer.body)["error"]["message"] == "upstream error: 127.0.0.1:1: connection refused"


async def test_given_a_lost_instance_when_asking_again_is_refused_then_that_is_the_answer() -> None:
    async with world(Echo()) as (w, _):
        w.manager.base_url = "http://127.0.0.1:1"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"m1"}')
            await wait_all_tasks_blocked()
            w.manager.refusals.append(Refusal(RefusalCode.CRASH_LOOPING, "it crashes", 7))
            w.manager.revoke(Revocation.UPSTREAM_LOST)
            w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPED, 1))
    assert (w.answer.status, w.answer.header(b"retry-after")) == (503, b"7")


# -- when somebody ends it -----------------------------------------------------------------------------------


async def wait_for_good(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def begin_and_wait(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    await peer.gone()


@pytest.mark.parametrize(
    ("why", "status", "code"),
    [
        (Revocation.CANCELLED, 499, "request_cancelled"),
        (Revocation.SHUTTING_DOWN, 503, "shutting_down"),
        (Revocation.UPSTREAM_LOST, 502, "upstream_unreachable"),
    ],
)
async def test_given_a_revoked_lease_when_nothing_was_sent_then_the_client_is_told(
    why: Revocation, status: int, code: str
) -> None:
    async with world(wait_for_good) as (w, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"m1"}')
            await wait_all_tasks_blocked(0.02)
            w.manager.revoke(why)
        await server.peers[0].left.wait()
    assert (w.answer.status, w.answer.complete) == (status, True)
    assert json.loads(w.answer.body)["error"]["code"] == code


@pytest.mark.parametrize("why", list(Revocation))
async def test_given_a_revoked_lease_when_the_response_has_begun_then_it_is_not_completed(
    why: Revocation,
) -> None:
    async with world(begin_and_wait) as (w, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"m1"}')
            await wait_all_tasks_blocked(0.02)
            w.manager.revoke(why)
        await server.peers[0].left.wait()
    assert (w.answer.status, w.answer.body, w.answer.complete) == (200, b"one", False)


async def test_given_a_lost_instance_when_its_last_bytes_have_arrived_then_they_are_delivered() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await lost.wait()
        await peer.send(b"lf")

    lost = trio.Event()
    async with world(script) as (w, _), trio.open_nursery() as nursery:
        nursery.start_soon(w.post, b'{"model":"m1"}')
        await wait_all_tasks_blocked(0.02)
        w.manager.revoke(Revocation.UPSTREAM_LOST)
        lost.set()
        await wait_all_tasks_blocked(0.02)
        assert (w.answer.body, w.answer.complete) == (b"half", True)


@pytest.mark.parametrize("script", [wait_for_good, begin_and_wait])
async def test_given_a_client_that_leaves_when_served_then_upstream_and_lease_are_let_go(
    script: Script,
) -> None:
    async with world(script) as (w, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"m1"}')
            await wait_all_tasks_blocked(0.02)
            assert len(w.manager.held) == 1
            nursery.cancel_scope.cancel()
        assert w.manager.held == []
        with trio.fail_after(5):
            await server.peers[0].left.wait()


async def test_given_a_client_that_leaves_while_sending_when_read_then_nobody_is_asked() -> None:
    async with world(Echo()) as (w, server):
        answer = await w.ask("POST", "/v1/chat/completions", [b'{"model":'], disconnect=True)
        assert (answer.status, w.manager.granted, server.peers) == (0, 0, [])


# -- connections ---------------------------------------------------------------------------------------------


async def test_given_idle_connections_when_the_instance_goes_then_they_are_closed() -> None:
    async with world(Echo()) as (w, server):
        await w.post(b'{"model":"m1"}')
        w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPING, 1))
        with trio.fail_after(5):
            await server.peers[0].left.wait()
        w.manager.gen = 2
        await w.post(b'{"model":"m1"}')
        assert len(server.peers) == 2
        # News of an instance that is out of date concern nobody.
        w.manager.publish(StateChanged("m1", ModelState.READY, ModelState.STOPPED, 1))
        await w.post(b'{"model":"m1"}')
        assert len(server.peers) == 2


async def test_given_a_new_instance_when_asked_then_no_connection_of_the_old_one_is_used() -> None:
    async with world(Echo()) as (w, server):
        await w.post(b'{"model":"m1"}')
        w.manager.gen = 2
        await w.post(b'{"model":"m1"}')
        assert len(server.peers) == 2
        with trio.fail_after(5):
            await server.peers[0].left.wait()
