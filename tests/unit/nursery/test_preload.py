"""The list of models to preload by itself; how it goes through the scheduler is in tests/scenarios."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from swapd.nursery.events import Refusal, RefusalCode
from swapd.nursery.lease import Refused
from swapd.nursery.preload import Preloaded, Preloads


async def test_models_are_loaded_in_order_and_none_twice_at_a_time() -> None:
    loaded: list[str] = []
    reports: list[Preloaded] = []

    async def load(model: str) -> None:
        loaded.append(model)
        await gate.wait()
        if model == "b":
            raise Refused(Refusal(RefusalCode.START_FAILED, "no such file"))

    gate = trio.Event()
    preloads = Preloads(load, reports.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(preloads.run)
        preloads.add(["a", "b"])
        await wait_all_tasks_blocked()
        preloads.add(["b", "c", "a"])
        assert (loaded, preloads.pending) == (["a"], ("a", "b", "c"))
        gate.set()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert loaded == ["a", "b", "c"]
    assert [(each.model, each.success, each.error) for each in reports] == [
        ("a", True, ""),
        ("b", False, "no such file"),
        ("c", True, ""),
    ]
    assert preloads.pending == ()


async def test_a_stop_in_the_step_in_which_a_load_ends_is_harmless() -> None:
    reports: list[Preloaded] = []
    gate = trio.Event()
    preloads = Preloads(lambda model: gate.wait(), reports.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(preloads.run)
        preloads.add(["a", "b"])
        await wait_all_tasks_blocked()
        gate.set()
        preloads.stop()

    assert (preloads.pending, reports) == ((), [])


async def test_what_is_stopped_stays_stopped() -> None:
    preloads = Preloads(lambda model: trio.Event().wait(), lambda outcome: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(preloads.run)
        preloads.stop()
        preloads.add(["a"])
        await wait_all_tasks_blocked()

    assert preloads.pending == ()
