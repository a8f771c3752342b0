"""What happens when two things happen at the same moment, or in an order nobody thought of."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from swapd.nursery.events import RefusalCode
from tests.scenarios.configs import exclusive, free
from tests.scenarios.stage import Client, Stage
from tests.unit.nursery.fakes import Behaviour

STEPS = range(16)
"""How many steps of the event loop a task lets pass: somewhere in here lies the one that matters."""


async def after_steps(steps: int, client: Client) -> None:
    """Ask that many steps of the event loop from now."""
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    await client.run()


async def test_a_request_after_the_end_is_refused(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"))
    await stage.shut_down()
    assert stage.ended_at == 0

    late = await stage.request("a")
    call = await stage.unload("a")

    assert late.code is RefusalCode.SHUTTING_DOWN
    assert call.done_at == 0


@pytest.mark.parametrize("steps", STEPS)
async def test_a_request_that_arrives_with_the_last_process_s_end_is_refused(
    clock: MockClock, stage: Stage, steps: int
) -> None:
    await stage.start(exclusive("a"), a=Behaviour(term_s=3))
    await stage.have_ready("a")
    await stage.shut_down()
    client = Client(stage, "a", takes_s=0)
    stage.clients.append(client)

    await trio.sleep_until(trio.current_time() + 3)
    stage.nursery.start_soon(after_steps, steps, client)
    await stage.settle()

    assert stage.ended_at == 3
    assert client.code is RefusalCode.SHUTTING_DOWN


@pytest.mark.parametrize("steps", STEPS)
async def test_a_model_removed_as_it_is_asked_for_starts_as_it_was_or_not_at_all(
    clock: MockClock, stage: Stage, steps: int
) -> None:
    await stage.start(free("a", "b"))
    client = Client(stage, "b", takes_s=0)
    stage.clients.append(client)

    stage.nursery.start_soon(client.run)
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    await stage.reload(free("a"))
    await stage.at(1)

    assert client.served or client.code is RefusalCode.NOT_FOUND
    assert stage.errors() == []


@pytest.mark.parametrize("steps", STEPS)
async def test_a_client_may_leave_while_its_lease_is_traded_in(
    clock: MockClock, stage: Stage, steps: int
) -> None:
    await stage.start(exclusive("a", "b"), a=Behaviour(notice_s=0.04, ready_after_s=1))
    await stage.have_ready("a")
    await stage.at(5)
    stage.process("a").exit()
    client = await stage.request("a")
    assert client.gens == [1] and client.waiting

    await trio.sleep_until(trio.current_time() + 0.04)
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    client.presence.cancel()
    await stage.at(10)
    b = await stage.request("b")
    await stage.at(11)

    assert stage.model("a").reserved == 0
    assert b.serving
