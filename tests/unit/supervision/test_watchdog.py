"""The watchdog is fed as long as the actor answers and the event loop keeps time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.supervision.watchdog import ActorWatch, feed_watchdog

INTERVAL_S = 60.0


class FakeActor:
    """Answers pings at once, unless it is stuck. Mutable state: that, and the number of pings."""

    def __init__(self) -> None:
        self.pings = 0
        self._free = trio.Event()
        self._free.set()

    async def ping(self) -> None:
        self.pings += 1
        await self._free.wait()

    def get_stuck(self) -> None:
        self._free = trio.Event()

    def come_back(self) -> None:
        self._free.set()


class Scene:
    """An actor, its watch, and what both lead to."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.actor = FakeActor()
        self.lines: list[str] = []
        self.watch = ActorWatch(self.actor.ping, error=self.lines.append, info=self.lines.append)
        self.fed: list[float] = []
        self._nursery = nursery
        self._start = trio.current_time()
        nursery.start_soon(self.watch.run)

    @property
    def now(self) -> float:
        return trio.current_time() - self._start

    def start_feeding(self) -> None:
        def feed() -> None:
            self.fed.append(round(self.now))

        self._nursery.start_soon(feed_watchdog, feed, INTERVAL_S, self.watch, self.lines.append)


@pytest.fixture
async def scene(clock: MockClock) -> AsyncIterator[Scene]:
    async with trio.open_nursery() as nursery:
        yield Scene(nursery)
        nursery.cancel_scope.cancel()


async def test_given_a_healthy_actor_then_it_is_fed_three_times_an_interval(
    scene: Scene, clock: MockClock
) -> None:
    scene.start_feeding()
    await trio.sleep(INTERVAL_S + 1)

    assert scene.fed == [0, 20, 40, 60]


async def test_given_an_actor_that_gets_stuck_then_feeding_ends_and_it_is_said_once(
    scene: Scene, clock: MockClock
) -> None:
    scene.start_feeding()
    await trio.sleep(30)

    scene.actor.get_stuck()
    await trio.sleep(10 * INTERVAL_S)

    assert scene.fed == [0, 20, 40]  # the ping that made the last one good came before
    assert scene.lines == ["the process manager has not answered for 20 s; swapd is not ready"]


async def test_given_an_actor_that_comes_back_then_feeding_goes_on(scene: Scene, clock: MockClock) -> None:
    scene.start_feeding()
    scene.actor.get_stuck()
    await trio.sleep(30)

    scene.actor.come_back()
    await trio.sleep(31)

    assert scene.fed == [0, 40, 60]
    assert scene.lines[-1] == "the process manager answers again"


async def test_given_an_event_loop_that_stood_still_then_that_turn_is_left_out(
    scene: Scene, clock: MockClock
) -> None:
    scene.start_feeding()
    await trio.sleep(15)

    clock.jump(12)  # the turn of second 20 comes at 27
    await trio.sleep(45)

    assert scene.fed == [0, 47, 67]
    assert scene.lines == ["nothing has moved in swapd for 7 s: something blocked the event loop"]


async def test_given_a_small_delay_then_it_is_fed_all_the_same(scene: Scene, clock: MockClock) -> None:
    scene.start_feeding()
    await trio.sleep(19)

    clock.jump(4)
    await wait_all_tasks_blocked()

    assert scene.fed == [0, 23]


async def test_given_nobody_who_asks_then_no_ping_is_sent(scene: Scene, clock: MockClock) -> None:
    await trio.sleep(3600)

    assert scene.actor.pings == 0


async def test_given_a_stuck_actor_when_readiness_is_asked_then_it_is_denied_after_the_limit(
    scene: Scene, clock: MockClock
) -> None:
    scene.actor.get_stuck()

    assert scene.watch.is_responsive()  # nothing is known yet; this asks
    await trio.sleep(4.9)
    assert scene.watch.is_responsive()
    await trio.sleep(0.2)
    assert not scene.watch.is_responsive()
    scene.actor.come_back()
    await wait_all_tasks_blocked()
    assert scene.watch.is_responsive()


async def test_given_many_who_ask_then_one_ping_is_under_way(scene: Scene, clock: MockClock) -> None:
    scene.actor.get_stuck()

    for _ in range(100):
        scene.watch.is_responsive()
        await wait_all_tasks_blocked()

    assert scene.actor.pings == 1
