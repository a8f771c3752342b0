"""Scenarios of the scheduler: who is served when several models want the same place."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from swapd.nursery.events import RefusalCode, StateChanged
from swapd.nursery.launcher import ExitStatus
from tests.scenarios.configs import config, exclusive, fifo, free, groups, side_by_side
from tests.scenarios.stage import SOON_S, Stage, on_change
from tests.unit.nursery.fakes import NORMAL, Behaviour

LOADS_3S = Behaviour(ready_after_s=3)
NEVER_READY = Behaviour(ready_after_s=None)
STOPS_8S = Behaviour(term_s=8)


# -- swaps and the queue -----------------------------------------------------------------------------------


async def test_s31_unload_refuses_who_waits_and_a_newcomer_gets_a_fresh_start(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=[Behaviour(ready_after_s=3, term_s=4.5), LOADS_3S])
    first = await stage.request("a")

    await stage.at(1)
    await stage.unload("a")
    second = await stage.request("a")
    await stage.at(5)
    while_stopping = (stage.state("a"), second.waiting)
    await stage.at(9)

    assert first.code is RefusalCode.MODEL_UNLOADED and first.ended_at == 1
    assert first.retry_after_s == 1
    assert while_stopping == ("stopping", True)  # that it answers by now changes nothing
    assert second.gens == [2]
    assert second.served_at is not None and 8.5 <= second.served_at <= 8.5 + SOON_S


async def test_s32_a_swap_unloaded_while_it_evicts_never_starts_its_target(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", "c", unloadTimeout=10), a=STOPS_8S)
    await stage.have_ready("a")

    b = await stage.request("b")
    await stage.unload("b")
    c = await stage.request("c")
    await stage.at(7.9)
    before = stage.spawns()
    await stage.at(8)

    assert b.code is RefusalCode.MODEL_UNLOADED
    assert before == ["a"]
    assert stage.spawns() == ["a", "c"] and c.served_at == 8
    assert all(len(together) == 1 for together in stage.launcher.lived_together)


async def test_s33_a_mixed_queue_is_served_model_by_model(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b", "c"), a=LOADS_3S, b=LOADS_3S, c=LOADS_3S)

    await stage.requests("abcabc", takes_s=1)
    await stage.at(20)

    assert stage.served_order == "aabbcc"
    assert stage.spawns() == ["a", "b", "c"]
    assert all(len(together) == 1 for together in stage.launcher.lived_together)


async def test_s34_a_busy_model_is_evicted_only_after_its_last_request(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"))
    one, two = await stage.requests("aa")

    b = await stage.request("b")
    await stage.at(5)
    await one.finish()
    after_one = stage.states("ab")
    await stage.at(9)
    await two.finish()

    assert after_one == ["ready", "stopped"]
    assert b.served_at == 9
    assert one.served and two.served
    assert stage.times("a", "stopping") == [9]


async def test_s35_a_loaded_model_goes_on_serving_while_another_is_queued(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"))
    await stage.requests("aa")
    b = await stage.request("b")

    another = await stage.request("a")

    assert another.served_at == stage.now
    assert b.waiting


async def test_s36_a_queued_model_takes_the_place_of_one_that_was_loading_when_it_came(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"), a=LOADS_3S)
    a = await stage.request("a", takes_s=2)

    b = await stage.request("b")
    queue = stage.queue
    await stage.at(6)

    assert queue == [(1, "b")]
    assert a.served and a.ended_at is not None
    assert b.serving and b.served_at == a.ended_at
    assert stage.swaps == [("b", ("a",))]


async def test_s37_models_that_may_run_together_load_in_parallel(clock: MockClock, stage: Stage) -> None:
    await stage.start(free("a", "b"), a=LOADS_3S, b=LOADS_3S)

    await stage.requests("ab")

    assert stage.spawns() == ["a", "b"]
    assert stage.states("ab") == ["starting", "starting"]


async def test_s38_a_model_that_two_targets_displace_is_stopped_once(clock: MockClock, stage: Stage) -> None:
    """B's plan collides with A's swap until X has stopped. Then nothing keeps B, which may run beside A:
    it starts together with A, without waiting for A to be ready."""
    side = {"members": ["a", "b"], "swap": False}
    await stage.start(
        config({"x": {}, "a": {}, "b": {}}, **groups(side=side)), x=Behaviour(term_s=2), a=LOADS_3S
    )
    await stage.have_ready("x")

    a, b = await stage.requests("ab")
    queue = stage.queue
    await stage.at(4)

    assert queue == [(1, "b")]
    assert stage.signals("x") == [("SIGTERM", 0)]
    assert stage.swaps == [("a", ("x",))]
    assert b.served_at == 2
    assert a.waiting


async def test_s39_two_models_that_one_displaced_come_back_together(clock: MockClock, stage: Stage) -> None:
    side = {"members": ["b", "c"], "swap": False}
    await stage.start(config({"a": {}, "b": {}, "c": {}}, **groups(side=side)), b=LOADS_3S, c=LOADS_3S)
    await stage.have_ready("b", "c")
    a = await stage.request("a")

    b, c = await stage.requests("bc")
    await stage.at(10)
    await a.finish()

    assert stage.swaps == [("a", ("b", "c")), ("b", ("a",))]
    assert stage.states("abc") == ["stopped", "starting", "starting"]
    assert b.waiting and c.waiting


async def test_s44_higher_priority_goes_first_and_equals_keep_their_order(
    clock: MockClock, stage: Stage
) -> None:
    priorities = fifo(priority={"a": 10, "b": 5, "c": 5, "d": 1})
    await stage.start(exclusive("x", "a", "b", "c", "d", top=priorities))
    x = await stage.request("x")

    await stage.requests("bdca", takes_s=1)
    queue = stage.queue
    await x.finish()
    await stage.at(10)

    assert queue == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert stage.served_order == "xabcd"


async def test_s45_a_blocked_request_does_not_hold_up_one_behind_it(clock: MockClock, stage: Stage) -> None:
    apart = side_by_side("y", persistent=True)
    text = config(
        {"a": {}, "x": {}, "y": {}},
        routing={
            "router": {"settings": {"groups": {"apart": apart}}},
            "scheduler": {"settings": {"fifo": {"priority": {"x": 10}}}},
        },
    )
    await stage.start(text)
    await stage.request("a")
    x = await stage.request("x")

    y = await stage.request("y")

    assert x.waiting and stage.queue == [(1, "x")]
    assert y.serving


# -- clients that leave ------------------------------------------------------------------------------------


async def test_s40_one_waiter_leaves_and_the_other_is_served(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=LOADS_3S)
    one, two = await stage.requests("aa")

    await stage.at(1)
    await one.leave()
    await stage.at(3 + SOON_S)

    assert two.serving
    assert stage.being_served("a") == [two]
    assert stage.model("a").reserved == 1


async def test_s41_nothing_is_started_for_a_queued_request_whose_client_left(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", "c"))
    a, b, c = await stage.requests("abc")
    before = stage.queue

    await b.leave()
    after = stage.queue
    await a.finish()

    assert before == [(1, "b"), (2, "c")]
    assert after == [(1, "c")]
    assert c.serving
    assert stage.spawns() == ["a", "c"]


async def test_s42_a_load_whose_only_waiter_left_goes_on_if_nobody_wants_its_place(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"), a=LOADS_3S)
    client = await stage.request("a")

    await stage.at(1)
    await client.leave()
    await stage.at(10)
    ready = (stage.state("a"), stage.model("a").leases)
    b = await stage.request("b")

    assert ready == ("ready", 0)
    assert b.served_at == 10


async def test_s43_a_waiter_that_vanishes_as_it_is_granted_leaves_no_lease(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"), a=LOADS_3S)
    client = await stage.request("a")

    def vanish(event: StateChanged) -> None:
        if event.new.value == "ready":
            client.presence.cancel()

    on_change(stage, vanish)

    await stage.at(4)
    b = await stage.request("b")

    assert client.served_at is None
    assert b.served_at == 4


@pytest.mark.parametrize("attempt", range(8))
async def test_s43_a_waiter_that_vanishes_as_the_server_answers_leaves_no_lease(
    clock: MockClock, stage: Stage, attempt: int
) -> None:
    """Its departure and the report of readiness reach the manager in one instant, in either order."""
    await stage.start(exclusive("a", "b"), a=Behaviour(ready_after_s=None))
    client = await stage.request("a")
    await stage.at(3)

    stage.process("a").become_ready()
    stage.process("a").write(b"ready\n")
    client.presence.cancel()
    await stage.at(4)
    b = await stage.request("b")

    assert stage.model("a").leases == 0
    assert b.served_at == 4


# -- failures ----------------------------------------------------------------------------------------------


async def test_s46_a_failed_start_fails_all_its_waiters_and_the_queue_moves_on(
    clock: MockClock, stage: Stage
) -> None:
    dies = Behaviour(ready_after_s=None, exit_after_s=2, exit_status=ExitStatus(code=3))
    await stage.start(exclusive("x", "a", "b"), a=dies)
    await stage.have_ready("x")

    waiters = await stage.requests("aaa")
    b = await stage.request("b")
    await stage.at(2)

    assert {waiter.code for waiter in waiters} == {RefusalCode.START_FAILED}
    assert len({waiter.message for waiter in waiters}) == 1 and "exit status 3" in waiters[0].message
    assert stage.model("a").reserved == 0
    assert b.served_at == 2
    assert stage.state("x") == "stopped" and stage.spawns("x") == ["x"]


# -- unload ------------------------------------------------------------------------------------------------


async def test_s47_unload_of_one_model_leaves_the_queue_of_another(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("x", "a", "b"))
    x = await stage.request("x")
    a, b = await stage.requests("ab")

    await stage.unload("a")
    queue = stage.queue
    await x.finish()

    assert a.code is RefusalCode.MODEL_UNLOADED
    assert queue == [(1, "b")]
    assert b.serving


async def test_s48_unload_does_not_wait_for_a_request_that_never_ends(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", unloadTimeout=10), a=Behaviour(term_s=None))
    endless = await stage.request("a")

    await stage.at(1)
    call = await stage.unload("a")
    await stage.at(12)

    assert call.done_at == 11
    assert endless.broken is not None and endless.ended_at == 11.25


async def test_s49_unload_of_all_stops_in_parallel_each_with_its_own_grace(
    clock: MockClock, stage: Stage
) -> None:
    stubborn = Behaviour(term_s=None)
    timeouts = {"a": {"unloadTimeout": 45}, "c": {"unloadTimeout": 0}, "e": {"unloadTimeout": 25}}
    beside = groups(g=side_by_side(*timeouts))
    await stage.start(config(timeouts, unloadTimeout=10, **beside), a=stubborn, c=stubborn, e=stubborn)
    await stage.have_ready("a", "c", "e")

    call = await stage.unload()
    await stage.at(60)

    assert call.done_at == 45
    assert [stage.times(model, "stopped") for model in "ace"] == [[45], [10], [25]]


async def test_s49_an_explicit_timeout_overrides_every_other(clock: MockClock, stage: Stage) -> None:
    stubborn = Behaviour(term_s=None)
    await stage.start(free("a", "c", unloadTimeout=45), a=stubborn, c=stubborn)
    await stage.have_ready("a", "c")

    call = await stage.unload(timeout_s=1)
    await stage.at(60)

    assert call.done_at == 1


# -- limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", ["nothing", "another model"])
async def test_s50_the_limit_counts_who_waits_and_who_is_queued(
    clock: MockClock, stage: Stage, behind: str
) -> None:
    await stage.start(exclusive("a", "b", concurrencyLimit=2), a=LOADS_3S)
    if behind == "another model":
        await stage.request("b")

    first, second, third = await stage.requests("aaa")
    await first.leave()
    fourth = await stage.request("a")

    assert third.code is RefusalCode.CONCURRENCY_LIMIT and third.retry_after_s == 1
    assert third.message == "Too many requests"
    assert second.waiting and fourth.waiting
    assert stage.model("a").reserved == 2


async def test_s50_by_default_the_eleventh_is_refused(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"))

    clients = await stage.requests("a" * 11)

    assert [client.code for client in clients] == [*[None] * 10, RefusalCode.CONCURRENCY_LIMIT]


# -- shutdown ----------------------------------------------------------------------------------------------


async def test_s51_a_shutdown_refuses_everybody_who_waits_and_starts_nothing_more(
    clock: MockClock, stage: Stage
) -> None:
    beside = groups(g=side_by_side("a", "b"))
    await stage.start(
        config({"a": {}, "b": {}, "c": {}}, **beside),
        a=NEVER_READY,
        b=Behaviour(ready_after_s=None, term_s=1),
    )
    clients = await stage.requests("aabbc")

    await stage.at(1)
    await stage.shut_down()
    await stage.shut_down()
    late = await stage.request("a")
    await stage.at(60)

    assert {client.code for client in [*clients, late]} == {RefusalCode.SHUTTING_DOWN}
    assert stage.spawns() == ["a", "b"]
    assert stage.ended_at == 2
    assert stage.launcher.alive() == []


async def test_a_shutdown_lets_granted_requests_finish_first(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=Behaviour(term_s=1))
    client = await stage.request("a", takes_s=5)

    await stage.at(1)
    await stage.shut_down(drain_s=30)
    await stage.at(10)

    assert client.served
    assert stage.times("a", "stopping") == [5]
    assert stage.ended_at == 6


# -- ready-only requests -----------------------------------------------------------------------------------


async def test_s57_a_request_that_may_not_load_is_refused_unless_the_model_is_ready(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"), a=LOADS_3S)

    stopped = await stage.request("a", ready_only=True)
    spawns = stage.spawns()
    await stage.request("a")
    starting = await stage.request("a", ready_only=True)
    await stage.at(4)
    ready = await stage.request("a", ready_only=True)

    assert stopped.code is starting.code is RefusalCode.MODEL_NOT_LOADED
    assert spawns == []
    assert ready.serving


async def test_a_queued_request_that_may_not_load_is_refused_when_the_model_goes(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", maxWait=10))
    a, b = await stage.requests("ab")
    await stage.at(10)

    held = await stage.request("a", ready_only=True)
    await a.finish()

    assert b.serving
    assert held.code is RefusalCode.MODEL_NOT_LOADED
    assert stage.spawns() == ["a", "b"]


async def test_nobody_is_served_by_a_model_that_is_not_configured(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=NORMAL)

    client = await stage.request("z")

    assert client.code is RefusalCode.NOT_FOUND
