"""Scenarios of bounds: on waiting for a busy model, queueing, crash loops, unwanted loads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from trio.testing import MockClock

from swapd.nursery.events import RefusalCode
from swapd.nursery.launcher import ExitStatus
from tests.scenarios.configs import config, exclusive, fifo, groups, side_by_side
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


async def test_a_model_may_have_a_longest_wait_of_its_own_or_none(clock: MockClock, stage: Stage) -> None:
    models: dict[str, dict[str, float]] = {
        "a": {},
        "b": {"maxWait": 50},
        "c": {"maxWait": 5},
        "d": {"maxWait": 0},
    }
    await stage.start(config(models, **fifo(maxWait=30)))
    await stage.request("a", takes_s=100)
    await stage.requests("bcd")

    await stage.at(4.9)
    before = await stage.request("a")
    await stage.at(5)
    after = await stage.request("a")

    assert before.serving and after.waiting
    assert stage.queue == [(1, "c"), (2, "b"), (3, "d"), (4, "a")]


async def test_without_a_longest_wait_a_busy_model_is_never_held_back(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b", top=fifo(maxWait=0)))
    await stage.request("a")
    b = await stage.request("b")

    await stage.at(100_000)
    late = await stage.request("a")

    assert late.serving and b.waiting


async def test_a_model_that_is_not_in_the_claims_way_goes_on_serving(clock: MockClock, stage: Stage) -> None:
    beside = groups(beside=side_by_side("x", persistent=True))
    await stage.start(config({"a": {}, "b": {}, "x": {}}, **beside, **fifo(maxWait=10)))
    await stage.requests("ab")
    await stage.at(10)

    x = await stage.request("x")
    held = await stage.request("a")

    assert x.serving and held.waiting


async def test_a_model_stays_as_long_as_it_should_unless_somebody_has_waited_long_enough(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b", "c", top=fifo(minLoaded=60, maxWait=90)))
    await stage.have_ready("a")
    b = await stage.request("b", takes_s=0)

    await stage.at(59.9)
    before = (b.waiting, stage.state("a"))
    await stage.at(60)
    c = await stage.request("c")
    await stage.at(120)

    assert before == (True, "ready")
    assert b.served_at == 60
    assert c.served_at == 120  # `b` has had its minute


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


async def test_s59_a_model_may_have_a_queue_time_limit_of_its_own(clock: MockClock, stage: Stage) -> None:
    await stage.start(config({"a": {}, "b": {"queueTimeout": 5}, "c": {}}, queueTimeout=20))
    await stage.request("a")

    b, c = await stage.requests("bc")
    await stage.at(60)

    assert (b.ended_at, c.ended_at) == (5, 20)


async def test_s59_the_client_is_told_when_to_try_again(clock: MockClock, stage: Stage) -> None:
    """The model's average load time, for itself and for each model queued before it."""
    await stage.start(
        config({"a": {}, "b": {"queueTimeout": 20}, "c": {}}), b=Behaviour(ready_after_s=4), c=NORMAL
    )
    await stage.have_ready("b", "c", "a")
    await stage.request("a")

    await stage.request("c", takes_s=0)
    b = await stage.request("b")
    await stage.at(60)

    assert b.code is RefusalCode.QUEUE_TIMEOUT
    assert b.retry_after_s == 9  # 4.0 s and some hundredths, twice


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
