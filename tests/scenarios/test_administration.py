"""Scenarios of what the owner and the daemon itself ask for: load, restart, preload; and of signs of life."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from swapd.nursery.events import RefusalCode, Revocation
from swapd.nursery.launcher import ExitStatus
from swapd.nursery.lease import Refused
from swapd.nursery.preload import Preloaded
from tests.scenarios.configs import exclusive, free
from tests.scenarios.stage import SOON_S, Stage
from tests.unit.nursery.fakes import HUNG, NORMAL, Behaviour

CRASHES = Behaviour(ready_after_s=None, exit_after_s=0.2, exit_status=ExitStatus(code=1))


def preloading(*names: str) -> dict[str, object]:
    return {"hooks": {"on_startup": {"preload": list(names)}}}


def preloaded(stage: Stage) -> list[tuple[str, bool]]:
    return [(event.model, event.success) for _, event in stage.events if isinstance(event, Preloaded)]


# -- load and restart --------------------------------------------------------------------------------------


async def test_a_load_makes_a_model_ready_whatever_went_wrong_before(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=[CRASHES] * 3 + [Behaviour(ready_after_s=1)])
    for second in range(3):
        await stage.at(second)
        await stage.request("a")
    await stage.at(2.5)
    looping = await stage.request("a")

    await stage.manager.load("a")

    assert looping.code is RefusalCode.CRASH_LOOPING
    assert stage.state("a") == "ready"
    assert (stage.model("a").leases, stage.model("a").reserved) == (0, 0)


async def test_a_load_that_fails_says_why(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=CRASHES)

    with pytest.raises(Refused, match="exit status 1"):
        await stage.manager.load("a")
    with pytest.raises(Refused):
        await stage.manager.load("nobody")


async def test_a_restart_lets_requests_finish_and_serves_newcomers_with_the_new_instance(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=Behaviour(term_s=1, ready_after_s=2))
    running = await stage.request("a", takes_s=8)
    await stage.at(5)

    stage.nursery.start_soon(stage.manager.restart, "a")
    await stage.settle()
    newcomer = await stage.request("a")
    await stage.at(20)

    assert running.served and running.broken is None
    assert stage.times("a", "stopping") == [running.ended_at]
    assert newcomer.gens == [2]
    assert stage.spawns() == ["a", "a"] and stage.state("a") == "ready"


async def test_a_restart_loads_what_does_not_run(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"))

    await stage.manager.restart("a")

    assert stage.state("a") == "ready"


async def test_an_unload_that_drains_cuts_what_outlasts_the_drain(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", top={"reload": {"drain": 60}}))
    endless, short = await stage.requests("aa")

    call = await stage.unload("a", drain=True)
    await stage.at(10)
    await short.finish()
    before = (call.done_at, endless.serving)
    await stage.at(61)

    assert before == (None, True)
    assert stage.times("a", "stopping") == [60] and call.done_at == 60
    assert short.served and endless.broken is Revocation.UPSTREAM_LOST


async def test_a_slow_decision_is_told(
    clock: MockClock, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.start(exclusive("a"))
    await stage.have_ready("a")
    before = [entry for entry in stage.log if entry.event == "scheduler.slow"]

    monkeypatch.setattr("swapd.nursery.manager.SLOW_EVENT_S", 0.0)
    await stage.unload("a")

    assert before == []
    assert any("(Unload)" in entry.message for entry in stage.log if entry.event == "scheduler.slow")


# -- preload -----------------------------------------------------------------------------------------------


async def test_models_are_preloaded_one_after_another_and_a_failure_holds_up_nobody(
    clock: MockClock, stage: Stage
) -> None:
    loads = Behaviour(ready_after_s=3)
    await stage.start(free("a", "b", "c", top=preloading("a", "b", "c")), a=loads, b=CRASHES, c=loads)

    await stage.settle()
    pending = stage.manager.preloads_pending
    await stage.at(10)

    assert pending == ("a", "b", "c")
    assert stage.manager.preloads_pending == ()
    assert preloaded(stage) == [("a", True), ("b", False), ("c", True)]
    assert stage.states("abc") == ["ready", "stopped", "ready"]
    [c_began] = stage.times("c", "starting")
    assert 3.2 <= c_began <= 3.2 + 2 * SOON_S


async def test_a_preload_goes_through_the_scheduler_like_everybody_else(
    clock: MockClock, stage: Stage
) -> None:
    """Two models that exclude each other: the second takes the place of the first."""
    await stage.start(exclusive("a", "b", top=preloading("a", "b")))

    await stage.at(1)

    assert stage.swaps == [("b", ("a",))]
    assert stage.states("ab") == ["stopped", "ready"]


async def test_a_preload_counts_as_somebody_who_waits(clock: MockClock, stage: Stage) -> None:
    """Its load is not given up for a request that would like the place."""
    await stage.start(exclusive("a", "b", top=preloading("a")), a=Behaviour(ready_after_s=30))
    await stage.settle()

    b = await stage.request("b")
    await stage.at(40)

    assert preloaded(stage) == [("a", True)]
    assert b.serving and b.served_at is not None and b.served_at >= 30


async def test_the_end_of_the_daemon_ends_the_preloading(clock: MockClock, stage: Stage) -> None:
    await stage.start(free("a", "b", top=preloading("a", "b")), a=Behaviour(ready_after_s=30))
    await stage.at(1)

    await stage.shut_down()

    assert stage.ended_at == 1
    assert stage.spawns() == ["a"]
    assert stage.manager.preloads_pending == ()


async def test_a_reload_preloads_only_what_is_newly_listed(clock: MockClock, stage: Stage) -> None:
    await stage.start(free("a", "b", "c", top=preloading("a")))
    await stage.at(1)
    await stage.unload("a")

    await stage.reload(free("a", "b", "c", top=preloading("a", "c")))
    await stage.at(2)

    assert stage.states("abc") == ["stopped", "stopped", "ready"]
    assert preloaded(stage) == [("a", True), ("c", True)]


# -- signs of life -----------------------------------------------------------------------------------------

CHECKED = {"health": {"liveness": {"interval": 5, "failures": 3}}}


async def test_a_ready_server_that_fails_its_checks_is_replaced_at_the_next_request(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", **CHECKED), a=[Behaviour(until_ready=HUNG, term_s=1), NORMAL])
    client = await stage.request("a")
    await stage.at(1)

    stage.process("a").fall_silent()
    await stage.at(30)
    after = await stage.request("a")

    # Checks at 5, 12 and 19 s, each of which waits its 2 s for an answer.
    assert client.broken is Revocation.UPSTREAM_LOST and client.ended_at == 21.25
    assert [name for name, _ in stage.launcher.processes[0].signals] == ["SIGTERM"]
    assert stage.moves("a")[:4] == [
        "stopped→starting",
        "starting→ready",
        "ready→stopping",
        "stopping→stopped",
    ]
    assert stage.model("a").failures == 1
    assert after.serving and after.gens == [2]
    assert [line for line in stage.errors() if "no sign of life: 3 health checks failed" in line]


async def test_a_server_that_answers_no_check_while_it_works_is_left_alone(
    clock: MockClock, stage: Stage
) -> None:
    """As long as its responses bring something, it lives."""
    await stage.start(exclusive("a", **CHECKED), a=Behaviour(until_ready=HUNG))
    client = await stage.request("a")
    stage.process("a").fall_silent()

    for second in range(0, 60, 4):
        await stage.at(second)
        assert client.lease is not None
        client.lease.activity.chunks += 1
    going_on = client.serving
    await stage.at(90)

    assert going_on
    assert client.broken is Revocation.UPSTREAM_LOST


async def test_without_liveness_checks_a_ready_server_is_not_asked_again(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"))
    await stage.have_ready("a")
    asked = len(stage.prober.probes)

    stage.process("a").fall_silent()
    await stage.at(3600)

    assert stage.state("a") == "ready" and len(stage.prober.probes) == asked


# -- servers in the background -----------------------------------------------------------------------------

DETACHED = {"detached": True, "cmdStop": "docker stop a"}


async def test_a_detached_command_may_exit_and_its_server_is_watched_by_its_health_endpoint(
    clock: MockClock, stage: Stage
) -> None:
    starts = Behaviour(exit_after_s=0.5, exit_status=ExitStatus(code=0), ready_after_s=3)
    await stage.start(exclusive("a", **DETACHED), a=starts)
    client = await stage.request("a")
    await stage.at(10)
    serving = client.serving

    stage.process("a").fall_silent()
    await stage.at(20)

    assert serving
    assert client.broken is Revocation.UPSTREAM_LOST
    assert client.ended_at is not None and 13 <= client.ended_at <= 17  # three checks, two seconds apart
    assert stage.state("a") == "stopped"
    assert stage.launcher.launched[0].stop_argv == ("docker", "stop", "a")


async def test_a_detached_command_that_fails_is_a_failed_start(clock: MockClock, stage: Stage) -> None:
    fails = Behaviour(exit_after_s=0.5, exit_status=ExitStatus(code=125), ready_after_s=None)
    await stage.start(exclusive("a", **DETACHED), a=fails)

    client = await stage.request("a")
    await stage.at(1)

    assert client.code is RefusalCode.START_FAILED and "exit status 125" in client.message
