"""The event hub: what reaches a client, and what happens to one that does not keep up."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from swapd.observe.events import HEARTBEAT, MOST_MESSAGES, EventHub, EventStream, message
from swapd.observe.inflight import InFlight, InFlightRequest
from swapd.observe.ring import LogRing


class World:
    """A hub, its table, and what it has warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.in_flight = InFlight()
        self.hub = EventHub(self.in_flight, self.warnings.append)
        self.beginnings: list[bool] = []

    def subscribe(self, *types: str, logs: dict[str, LogRing] | None = None) -> EventStream:
        def beginning(first: bool) -> bytes:
            self.beginnings.append(first)
            return message("beginning", first)

        return self.hub.subscribe(frozenset(types), beginning, logs or {}, lambda: None)

    def begin(self, model: str = "m1") -> InFlightRequest:
        return self.in_flight.begin(
            model,
            method="POST",
            path="/p",
            forwarded_path="/p",
            query=b"",
            headers=[],
            client="",
            progress=SimpleNamespace(status=0, bytes_sent=0),
            recorded=True,
        )


@pytest.fixture
def world() -> World:
    return World()


def decoded(data: bytes) -> list[tuple[str, Any]]:
    """The messages in a piece of a stream."""
    found = []
    for frame in data.decode().split("\n\n")[:-1]:
        if frame == ":":
            continue
        first, second = frame.split("\n")
        assert first == "event:message"
        envelope = json.loads(second.removeprefix("data:"))
        found.append((envelope["type"], json.loads(envelope["data"])))
    return found


def test_given_a_value_when_it_is_framed_then_its_json_is_a_string_in_the_envelope() -> None:
    assert message("activity", {"id": 7}) == (
        b'event:message\ndata:{"type":"activity","data":"{\\"id\\":7}"}\n\n'
    )


async def test_given_two_clients_when_something_is_published_then_those_who_want_it_get_it(
    world: World,
) -> None:
    async with world.subscribe("a", "b") as both, world.subscribe("b") as one:
        world.hub.publish("a", 1)
        world.hub.publish("b", 2)
        world.hub.publish("c", 3)

        assert decoded(await anext(both)) == [("beginning", True), ("a", 1), ("b", 2)]
        assert decoded(await anext(one)) == [("beginning", True), ("b", 2)]
    assert world.hub.clients == 0
    assert not world.hub.wants("a")


async def test_given_a_client_that_does_not_read_when_its_queue_is_full_then_it_begins_afresh(
    world: World,
) -> None:
    async with world.subscribe("a") as slow, world.subscribe("a") as quick:
        await anext(quick)
        for number in range(MOST_MESSAGES + 10):
            world.hub.publish("a", number)
            if number % 100 == 0:
                await anext(quick)

        assert decoded(await anext(slow)) == [("beginning", False)]
        world.hub.publish("a", "next")
        assert decoded(await anext(slow)) == [("a", "next")]
        assert decoded(await anext(quick))[-2:] == [("a", MOST_MESSAGES + 9), ("a", "next")]
    assert world.beginnings == [True, True, False]
    assert len(world.warnings) == 1
    assert world.hub.dropped == MOST_MESSAGES + 11  # the beginning was one of them


async def test_given_a_client_that_does_not_read_when_messages_are_large_then_their_bytes_are_bounded(
    world: World,
) -> None:
    async with world.subscribe("a") as slow:
        for _ in range(10):
            world.hub.publish("a", "x" * 1_000_000)

        assert decoded(await anext(slow)) == [("beginning", False)]


async def test_given_log_text_when_a_client_is_slow_then_a_note_says_how_much_is_missing(
    world: World,
) -> None:
    ring = LogRing(1000)
    async with world.subscribe("logData", logs={"proxy": ring}) as stream:
        await anext(stream)
        for _ in range(100):
            ring.write(b"x" * 9_999 + b"\n")

        ((kind, data),) = decoded(await anext(stream))
    assert kind == "logData"
    assert data["source"] == "proxy"
    assert data["data"].startswith("\n— ")
    assert "bytes dropped" in data["data"]
    assert len(data["data"]) < 300_000


async def test_given_silence_when_15_s_have_passed_then_a_heartbeat_comes(
    world: World, clock: MockClock
) -> None:
    async with world.subscribe("a") as stream:
        await anext(stream)
        before = trio.current_time()

        assert await anext(stream) == HEARTBEAT
        assert trio.current_time() - before == 15


async def test_given_many_changes_when_models_are_told_then_at_most_five_times_a_second_and_the_last_state(
    world: World, clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery, world.subscribe("modelStatus") as stream:
        nursery.start_soon(world.hub.run)
        await anext(stream)
        state = 0
        world.hub.models = lambda: state
        for number in range(101):
            state = number
            world.hub.models_changed()
            await trio.sleep(0.01)
        seen = []
        while not seen or seen[-1] != 100:
            seen += [data for _, data in decoded(await anext(stream))]
        nursery.cancel_scope.cancel()
    assert 5 <= len(seen) <= 7
    assert seen == sorted(seen)


async def test_given_a_request_that_sends_when_it_is_watched_then_its_bytes_are_told_every_quarter_second(
    world: World, clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery, world.subscribe("inflight") as stream:
        nursery.start_soon(world.hub.run)
        await anext(stream)
        request = world.begin()
        world.hub.request_changed(request)
        for _ in range(100):
            request.progress.bytes_sent += 10
            await trio.sleep(0.01)
        await trio.sleep(1)

        told = [data["request"]["resp_bytes"] for _, data in decoded(await anext(stream))]
        request.end()
        world.hub.request_ended(request)
        assert decoded(await anext(stream)) == [("inflight", {"operation": "remove", "id": "1", "total": 0})]
        nursery.cancel_scope.cancel()
    assert told[0] == 0
    assert told[-1] == 1000
    assert len(told) in (5, 6)


async def test_given_nobody_who_listens_when_requests_pass_then_nothing_wakes_up(
    world: World, clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hub.run)
        request = world.begin()
        world.hub.request_changed(request)
        world.hub.models_changed()
        await trio.testing.wait_all_tasks_blocked()

        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
        nursery.cancel_scope.cancel()


async def test_given_clients_when_streams_are_ended_then_each_gets_what_waits_and_then_the_end(
    world: World,
) -> None:
    async with world.subscribe("shutdown") as stream:
        world.hub.end_streams("bye", 100)

        assert decoded(await anext(stream))[1:] == [("shutdown", {"reason": "bye", "deadline_ms": 100})]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    async with world.subscribe("shutdown") as late:
        assert decoded(await anext(late)) == [("beginning", True)]
        with pytest.raises(StopAsyncIteration):
            await anext(late)
