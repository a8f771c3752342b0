"""Steering an in-process upstream: holds, faults, virtual time."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from trio.testing import MockClock

from swapd.testing.upstream.local import LocalUpstream, serve_upstream
from swapd.testing.upstream.remote import RemoteUpstream
from swapd.testing.upstream.steps import Pause, Steps
from swapd.testing.upstream.wire import Request, json_reply


async def ask(upstream: LocalUpstream, path: str = "/v1/chat/completions", **body: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=upstream.url, trust_env=False, timeout=None) as client:
        return await client.post(path, json=body)


async def raw_request(upstream: LocalUpstream, **body: object) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", upstream.port)
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    await stream.send_all(head.encode() + content)
    return stream


async def test_pace_is_kept_on_a_virtual_clock(clock: MockClock, upstream: LocalUpstream) -> None:
    # Given
    upstream.set(tokens=11, tps=10, first_token=3)
    start = trio.current_time()
    # When
    await ask(upstream, stream=True)
    # Then: three seconds, and ten gaps of a tenth
    assert trio.current_time() - start == pytest.approx(4.0)
    assert upstream.state.exchanges[0].tokens_sent == 11


async def test_given_loading_when_asked_then_503_until_the_time_is_up(clock: MockClock) -> None:
    async with serve_upstream(load=5) as upstream:
        early = await ask(upstream)
        await trio.sleep(5.1)
        late = await ask(upstream)
    assert (early.status_code, late.status_code) == (503, 200)
    assert early.json()["error"]["message"] == "Loading model"


async def test_given_refuse_mode_when_loading_then_connections_are_refused(clock: MockClock) -> None:
    async with serve_upstream(load=5, load_mode="refuse") as upstream:
        with pytest.raises(httpx.ConnectError):
            await ask(upstream)
        await trio.sleep(5.1)
        assert (await ask(upstream)).status_code == 200


async def test_a_held_request_waits_until_released(upstream: LocalUpstream) -> None:
    # Given
    upstream.hold()
    answers: list[int] = []

    async def one() -> None:
        answers.append((await ask(upstream)).status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
        await upstream.received(2)
        # When
        upstream.release(count=1)
        await upstream.until(lambda: upstream.state.answered == 1)
        # Then
        assert upstream.state.running == 1
        upstream.release()
    assert answers == [200, 200]


async def test_given_a_held_stream_when_the_client_leaves_then_it_is_recorded_as_aborted(
    upstream: LocalUpstream,
) -> None:
    # Given
    upstream.set(hold=True, hold_after=3)
    stream = await raw_request(upstream, stream=True)
    await upstream.until(
        lambda: bool(upstream.state.exchanges) and upstream.state.exchanges[0].tokens_sent == 3
    )
    # When
    await stream.aclose()
    # Then
    (aborted,) = await upstream.aborted(1)
    assert (aborted.outcome, aborted.tokens_sent) == ("aborted", 3)
    assert aborted.ended_at is not None


async def test_given_a_client_that_leaves_in_its_upload_then_that_counts_as_aborted(
    upstream: LocalUpstream,
) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", upstream.port)
    await stream.send_all(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    await stream.aclose()
    (aborted,) = await upstream.aborted(1)
    assert aborted.request.body_length == 4


async def test_crash_in_stream_cuts_the_connection_and_refuses_new_ones(upstream: LocalUpstream) -> None:
    upstream.set(crash_in_stream=2)
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(upstream, stream=True)
    with pytest.raises(httpx.ConnectError):
        await ask(upstream)
    assert upstream.crashed.is_set()


@pytest.mark.parametrize(("health", "status"), [("ok", 200), ("redirect", 302), ("error", 500)])
async def test_health(upstream: LocalUpstream, health: str, status: int) -> None:
    upstream.set(health=health)
    async with httpx.AsyncClient(base_url=upstream.url, trust_env=False) as client:
        assert (await client.get("/health")).status_code == status


async def test_given_a_hanging_health_check_when_cured_then_it_answers(upstream: LocalUpstream) -> None:
    upstream.set(health="hang")
    async with httpx.AsyncClient(base_url=upstream.url, trust_env=False, timeout=None) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, "/health")
            await trio.testing.wait_all_tasks_blocked(0.01)
            upstream.set(health="ok")
        upstream.set(health="reset")
        with pytest.raises(httpx.TransportError):
            await client.get("/health")


async def test_failures_by_status_and_by_chance(upstream: LocalUpstream) -> None:
    upstream.set(status=418)
    assert (await ask(upstream)).status_code == 418
    upstream.set(status=0, failure_rate=1.0)
    assert (await ask(upstream)).status_code == 500


async def test_given_a_stalled_upload_when_released_then_the_rest_is_read(upstream: LocalUpstream) -> None:
    # Given
    upstream.set(stall_upload="64KiB")
    size = 20_000_000
    done = trio.Event()

    async def upload() -> None:
        async with httpx.AsyncClient(base_url=upstream.url, trust_env=False, timeout=None) as client:
            echo = (await client.post("/test/echo", content=b"x" * size)).json()
        assert echo["body_length"] == size
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not upstream.requests
        # When
        upstream.release()
        # Then
        await done.wait()


async def test_a_script_answers_in_place_of_the_built_in_answers(
    clock: MockClock, upstream: LocalUpstream
) -> None:
    def script(request: Request) -> Steps:
        yield Pause(60)
        yield json_reply(201, {"path": request.path})

    upstream.script = script
    response = await ask(upstream, "/anything")
    assert (response.status_code, response.json()) == (201, {"path": "/anything"})


async def test_remote_control(upstream: LocalUpstream) -> None:
    async with RemoteUpstream(upstream.url) as remote:
        await remote.set(tokens=1, hold=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, upstream)
            (exchange,) = await remote.received(1)
            assert exchange["outcome"] == "running"
            await remote.release()
        assert (await remote.state())["answered"] == 1
        with pytest.raises(httpx.HTTPStatusError):
            await remote.set(nonsense=1)


async def test_what_breaks_the_protocol_is_noted(upstream: LocalUpstream) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", upstream.port)
    async with stream:
        await stream.send_all(b"nonsense\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")
    assert upstream.state.wire_errors
