"""The queue of deadlines, on a virtual clock."""

from __future__ import annotations

from math import inf

import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.http.server.deadlines import Deadlines, Phase


@define(eq=False)
class Waiter:
    """Keeps when it expired, and what of."""

    expired: list[tuple[float, Phase]] = field(factory=list)

    def expire(self, phase: Phase) -> None:
        self.expired.append((trio.current_time(), phase))


async def test_each_expires_when_its_phase_has_lasted(nursery: trio.Nursery, clock: MockClock) -> None:
    # Given two phases
    deadlines = Deadlines()
    short, long = deadlines.phase(1), deadlines.phase(10)
    nursery.start_soon(deadlines.watch)
    await wait_all_tasks_blocked()
    waiters = [Waiter() for _ in range(4)]
    # When some begin to wait, at various times
    begin = trio.current_time()
    long.start(waiters[0])
    await trio.sleep(5)
    short.start(waiters[1])
    long.start(waiters[2])
    await trio.sleep(0.5)
    short.start(waiters[3])
    await trio.sleep(100)
    # Then each has expired once, in its time
    expired = [(round(when - begin, 3), phase) for waiter in waiters for when, phase in waiter.expired]
    assert expired == [(10, long), (6, short), (15, long), (6.5, short)]


async def test_who_stops_or_begins_anew_does_not_expire_early(
    nursery: trio.Nursery, clock: MockClock
) -> None:
    # Given three that wait
    deadlines = Deadlines()
    phase = deadlines.phase(10)
    nursery.start_soon(deadlines.watch)
    begin = trio.current_time()
    stopped, restarted, forgotten, other = Waiter(), Waiter(), Waiter(), Waiter()
    for waiter in (stopped, restarted, forgotten):
        phase.start(waiter)
    await trio.sleep(5)
    # When one stops, one begins anew, and one is forgotten
    phase.stop(stopped)
    phase.start(restarted)
    deadlines.forget(forgotten)
    phase.start(other)
    await trio.sleep(100)
    # Then only the second expires, counted from the second beginning
    assert stopped.expired == forgotten.expired == []
    assert [when - begin for when, _ in restarted.expired + other.expired] == [15, 15]


async def test_no_limit_means_none(nursery: trio.Nursery, clock: MockClock) -> None:
    # Given a phase without a limit
    deadlines = Deadlines()
    phase = deadlines.phase(0)
    nursery.start_soon(deadlines.watch)
    waiter = Waiter()
    # When somebody is in it for long
    phase.start(waiter)
    await trio.sleep(24 * 3600)
    phase.stop(waiter)
    # Then nothing happens
    assert waiter.expired == []
    assert deadlines.wake_at == inf


async def test_it_sleeps_without_a_timer_while_nobody_waits(nursery: trio.Nursery, clock: MockClock) -> None:
    # Given somebody who waited and stopped
    deadlines = Deadlines()
    phase = deadlines.phase(10)
    nursery.start_soon(deadlines.watch)
    await wait_all_tasks_blocked()
    waiter = Waiter()
    phase.start(waiter)
    phase.stop(waiter)
    # When the time is over
    await trio.sleep(11)
    # Then there is no further time to look
    assert deadlines.wake_at == inf


async def test_a_waiter_may_begin_another_wait_when_it_expires(
    nursery: trio.Nursery, clock: MockClock
) -> None:
    # Given one that goes on to another phase
    deadlines = Deadlines()
    first, second = deadlines.phase(3), deadlines.phase(2)
    seen: list[float] = []

    class Restless:
        def expire(self, phase: Phase) -> None:
            seen.append(trio.current_time() - begin)
            if phase is first:
                second.start(self)

    nursery.start_soon(deadlines.watch)
    begin = trio.current_time()
    # When the first has lasted
    first.start(Restless())
    await trio.sleep(100)
    # Then so does the second
    assert seen == [3, 5]
