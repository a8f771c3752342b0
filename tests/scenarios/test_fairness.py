"""Scenarios of bounds: on waiting for a busy model, queueing, crash loops, unwanted loads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from trio.testing import MockClock

from swapd.nursery.events import RefusalCode
from swapd.nursery.launcher import ExitStatus
from tests.scenarios.configs import config, exclusive, fifo
from tests.scenarios.stage import Client, Stage
from tests.unit.nursery.fakes import NORMAL, Behaviour

LOADS_3S = Behaviour(ready_after_s=3)
CRASHES = Behaviour(ready_after_s=None, exit_after_s=0.2, exit_status=ExitStatus(code=1))


async def hammer(stage: Stage, model: str, until: float, *, every_s: float, takes_s: float) -> list[Client]:
    """Requests that overlap, so that the model is never idle, up to and including `until`."""
    clients = []
    while stage.now < until:
        clients.append(await stage.request(model, takes_s))
        await stage.at(round(stage.now + every_s, 6))
    return clients


async def test_s58_after_its_longest_wait_a_model_gets_its_turn(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b", top=fifo(maxWait=30)), a=Behaviour(term_s=1), b=LOADS_3S)
    stream = await hammer(stage, "a", 2, every_s=2, takes_s=5)
    await stage.at(2)
    b = await stage.request("b", takes_s=1)

    stream += await hammer(stage, "a", 50, every_s=2, takes_s=5)
    await stage.at(70)

    granted = [client.served_at for client in stream if client.served_at is not None]
    assert len(granted) == len(stream), "everybody is served in the end"
    assert not [when for when in granted if 32 <= when < 40]
    assert stage.times("a", "stopping")[0] == 35  # the last one before the claim came at 30 and took 5 s
    assert b.served and b.served_at is not None and 39 <= b.served_at <= 39.1
    held = [client for client in stream if client.served_at is not None and client.served_at > 39]
    assert held[0].asked_at == 32
    assert b.ended_at is not None
    assert stage.times("b", "stopping")[0] == b.ended_at


async def test_s58_when_the_claimant_leaves_the_others_are_served_at_once(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", top=fifo(maxWait=30)))
    await stage.request("a")
    b = await stage.request("b")
    await stage.at(30)
    held = await stage.requests("aaa")
    assert all(client.waiting for client in held)
    assert stage.queue == [(1, "b"), (2, "a"), (3, "a"), (4, "a")]

    await stage.at(31)
    await b.leave()

    assert [client.served_at for client in held] == [31, 31, 31]
    assert stage.spawns() == ["a"]


async def test_three_clients_hammer_one_model_and_the_other_is_served_within_the_bound(
    clock: MockClock, stage: Stage
) -> None:
    """The bound: the longest wait, one request, one swap."""
    max_wait_s, request_s, swap_s = 20, 4, 1 + 3
    await stage.start(exclusive("a", "b", top=fifo(maxWait=max_wait_s)), a=Behaviour(term_s=1), b=LOADS_3S)
    over = False

    async def keep_asking(offset_s: float) -> None:
        await stage.at(offset_s)
        while not over:
            client = await stage.request("a", takes_s=request_s)
            await client.gone()
            assert client.served

    for offset_s in (0, 1.3, 2.6):
        stage.nursery.start_soon(keep_asking, offset_s)
    await stage.at(10)
    waits = []
    for _ in range(5):
        asked_at = stage.now
        b = await stage.request("b", takes_s=0.5)
        await b.gone()
        assert b.served and b.served_at is not None
        waits.append(b.served_at - asked_at)
        await stage.at(round(stage.now + 10, 6))
    over = True
    await stage.at(stage.now + 30)

    assert max(waits) <= max_wait_s + request_s + swap_s + 0.1
    assert len(stage.spawns("b")) == 5


async def test_two_models_in_constant_demand_take_turns_of_the_longest_wait(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", concurrencyLimit=100, top=fifo(maxWait=10)))

    for _ in range(300):
        await stage.requests("ab", takes_s=0.9)
        await stage.at(round(stage.now + 0.5, 6))
    await stage.at(stage.now + 30)

    assert all(client.served for client in stage.clients)
    begins = sorted(stage.times("a", "starting") + stage.times("b", "starting"))
    turns = [round(later - earlier, 6) for earlier, later in pairwise(begins)]
    assert len(turns) >= 10
    assert all(10 <= turn <= 10 + 0.9 + 0.1 for turn in turns[:-1])


async def test_s59_the_queue_time_limit_refuses_and_gives_the_place_back(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", top={"queueTimeout": 20}))
    await stage.request("a", takes_s=60)

    b = await stage.request("b")
    await stage.at(30)

    assert b.code is RefusalCode.QUEUE_TIMEOUT and b.ended_at == 20
    assert b.retry_after_s == 10
    assert stage.model("b").reserved == 0


async def test_s59_the_queue_time_limit_does_not_count_the_load(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b", top={"queueTimeout": 20}), b=Behaviour(ready_after_s=40))
    await stage.request("a", takes_s=10)

    b = await stage.request("b", takes_s=0)
    await stage.at(60)

    assert b.served and b.served_at is not None and b.served_at >= 50


async def test_s59_a_client_may_shorten_the_limit_but_not_extend_it(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b", top={"queueTimeout": 20}))
    await stage.request("a")

    short = await stage.request("b", queue_timeout_s=5)
    long = await stage.request("b", queue_timeout_s=50)
    await stage.at(60)

    assert (short.ended_at, long.ended_at) == (5, 20)


async def test_s60_a_crash_loop_opens_the_breaker_and_one_attempt_follows(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(config({"a": {}}, restart={"base": 8}), a=CRASHES)

    clients = []
    for second in range(10):
        await stage.at(second)
        clients.append(await stage.request("a"))
    spawns_while_open = stage.spawns()
    retry_at = stage.manager.snapshot().models["a"].retry_at
    assert retry_at is not None
    await stage.at(stage.time(retry_at) + 0.1)
    probe = await stage.request("a")
    await stage.at(stage.now + 1)
    again = await stage.request("a")

    assert [client.code for client in clients[:3]] == [RefusalCode.START_FAILED] * 3
    assert {client.code for client in clients[3:]} == {RefusalCode.CRASH_LOOPING}
    assert spawns_while_open == ["a"] * 3
    for client in clients[3:]:
        assert client.retry_after_s is not None
        assert 0 <= client.asked_at + client.retry_after_s - stage.time(retry_at) < 1
    assert 2.2 + 8 * 0.9 <= stage.time(retry_at) <= 2.2 + 8 * 1.1
    assert probe.code is RefusalCode.START_FAILED
    assert again.code is RefusalCode.CRASH_LOOPING
    assert again.retry_after_s is not None and again.retry_after_s > 10, "longer than the first time"


async def test_s60_a_minute_of_readiness_closes_the_breaker(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=[CRASHES] * 3 + [NORMAL])
    for second in range(3):
        await stage.at(second)
        await stage.request("a")
    await stage.at(10)
    probe = await stage.request("a")

    await stage.at(69.9)
    before = stage.model("a").failures
    await stage.at(70)

    assert probe.serving
    assert (before, stage.model("a").failures) == (3, 0)


@pytest.mark.parametrize("reset_by", ["unload", "reload"])
async def test_s60_a_named_unload_or_a_new_command_resets_the_breaker(
    clock: MockClock, stage: Stage, reset_by: str
) -> None:
    await stage.start(exclusive("a"), a=[CRASHES] * 3 + [NORMAL])
    for second in range(3):
        await stage.at(second)
        await stage.request("a")
    await stage.at(2.5)
    looping = await stage.request("a")

    if reset_by == "unload":
        await stage.unload("a")
    else:
        await stage.reload(config({"a": {"cmd": "serve --better ${PORT}"}}))
    client = await stage.request("a")

    assert looping.code is RefusalCode.CRASH_LOOPING
    assert client.serving


async def test_s66_a_load_that_nobody_waits_for_gives_way(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b"), a=Behaviour(ready_after_s=60))
    client = await stage.request("a")
    await stage.at(5)
    b = await stage.request("b")

    await client.leave()
    await stage.at(5.9)
    before = stage.state("a")
    await stage.at(6)

    assert before == "starting"
    assert b.served_at == 6
    assert stage.model("a").failures == 0


async def test_s66_who_comes_back_within_a_second_finds_the_load_going_on(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"), a=Behaviour(ready_after_s=8))
    client = await stage.request("a")
    b = await stage.request("b")
    await stage.at(5)

    await client.leave()
    await stage.at(5.5)
    retry = await stage.request("a", takes_s=1)
    await stage.at(20)

    assert retry.served and retry.gens == [1]
    assert b.serving and stage.spawns() == ["a", "b"]


@pytest.mark.parametrize(
    ("mode", "ends"), [("when-needed", "ready"), ("always", "stopped"), ("never", "ready")]
)
async def test_s66_what_becomes_of_a_deserted_load_can_be_chosen(
    clock: MockClock, stage: Stage, mode: str, ends: str
) -> None:
    await stage.start(exclusive("a", top={"abandonLoad": mode}), a=LOADS_3S)
    client = await stage.request("a")

    await client.leave()
    await stage.at(5)

    assert stage.state("a") == ends
