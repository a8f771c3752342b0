"""Scenarios of idle time: when a model is unloaded because nobody uses it, and when it must not be."""

from __future__ import annotations

import random

import pytest
from trio.testing import MockClock

from tests.scenarios.configs import config, exclusive
from tests.scenarios.stage import SOON_S, Stage
from tests.unit.nursery.fakes import Behaviour


async def test_s27_idle_time_counts_from_the_end_of_the_last_response(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", ttl=10), a=Behaviour(term_s=1))

    await stage.request("a", takes_s=5)
    await stage.at(16.5)
    await stage.request("a", takes_s=1)
    await stage.at(27.4)
    await stage.request("a", takes_s=12.6)
    await stage.at(60)

    assert stage.times("a", "stopping") == [15, 50]


async def test_s28_a_request_longer_than_the_idle_time_is_safe_and_so_is_the_time_after_it(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", ttl=5))

    client = await stage.request("a", takes_s=60)
    await stage.at(70)

    assert client.served
    assert stage.times("a", "stopping") == [65]


async def test_s29_idle_time_counts_from_readiness_if_the_only_client_left_during_the_load(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", ttl=5), a=Behaviour(ready_after_s=9))
    client = await stage.request("a")

    await stage.at(6)
    await client.leave()
    await stage.at(40)

    [ready_at] = stage.times("a", "ready")
    assert 9 <= ready_at <= 9 + SOON_S
    assert stage.times("a", "stopping") == [pytest.approx(ready_at + 5)]


@pytest.mark.parametrize(
    ("ttl", "global_ttl", "unloaded"),
    [(0, 0, []), (-1, 0, []), (0, 60, []), (-1, 60, [60])],
)
async def test_s30_zero_is_never_and_minus_one_is_the_global_value(
    clock: MockClock, stage: Stage, ttl: int, global_ttl: int, unloaded: list[float]
) -> None:
    await stage.start(config({"a": {"ttl": ttl}}, globalTTL=global_ttl))

    await stage.have_ready("a")
    await stage.at(10_000)

    assert stage.times("a", "stopping") == unloaded


async def test_a_model_to_be_kept_has_no_idle_time(clock: MockClock, stage: Stage) -> None:
    await stage.start(config({"a": {"ttl": 5, "keepLoaded": True}}))

    await stage.have_ready("a")
    await stage.at(10_000)

    assert stage.state("a") == "ready"


async def test_idle_time_of_a_second_against_requests_a_second_apart_refuses_nobody(
    clock: MockClock, stage: Stage
) -> None:
    """300 rounds in which the end of the idle time and the next request fall on the same moment, give or
    take some milliseconds: sometimes the lease is first, sometimes the stop."""
    await stage.start(exclusive("a", ttl=1), a=Behaviour(ready_after_s=0.1, term_s=0.05, cleanup_s=0.01))
    jitter = random.Random(1)

    for _ in range(300):
        client = await stage.request("a", takes_s=0)
        await client.gone()
        assert client.ended_at is not None
        await stage.at(max(stage.now, client.ended_at + 1 + jitter.choice([0, 0, jitter.uniform(-0.1, 0.1)])))

    assert all(client.served for client in stage.clients)
    stops = len(stage.times("a", "stopping"))
    assert 50 < stops < 290, "both orders must occur"


async def test_idle_time_against_a_request_at_the_very_same_moment(clock: MockClock, stage: Stage) -> None:
    """Whichever is handled first, the request is served."""
    await stage.start(exclusive("a", ttl=1), a=Behaviour(term_s=0.5))
    await stage.have_ready("a")

    clients = []
    for _ in range(50):
        clients.append(await stage.request("a", takes_s=0))
        await stage.at(stage.now + 1)

    assert all(client.served for client in clients[:-1])
