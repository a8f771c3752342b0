"""Scenarios of one model's process: how it becomes ready, fails, is stopped, dies.

Of S14 to S18, S20 to S22 and S24 only the manager's part is here: what real processes, stop commands and
environments do is tested in tests/real. S25 is in tests/unit/observe/test_ring.py.
"""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from swapd.nursery.events import RefusalCode, Revocation
from swapd.nursery.launcher import ExitStatus
from swapd.nursery.prober import ProbeKind, ProbeResult
from tests.scenarios.configs import config, exclusive, fifo
from tests.scenarios.stage import SOON_S, Stage
from tests.unit.nursery.fakes import HUNG, LOADING, NORMAL, Behaviour

IGNORES_SIGTERM = Behaviour(term_s=None)
NEVER_READY = Behaviour(ready_after_s=None)
CYCLE = ["stopped→starting", "starting→ready", "ready→stopping", "stopping→stopped"]
FAILED_START = ["stopped→starting", "starting→stopped"]
TORN_DOWN_START = ["stopped→starting", "starting→stopping", "stopping→stopped"]


async def test_s01_a_plain_cycle_has_one_spawn_and_four_events(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"))

    client = await stage.request("a", takes_s=1)
    await stage.at(5)
    call = await stage.unload("a")

    assert client.served
    assert call.done_at == 5
    assert stage.spawns() == ["a"]
    assert stage.moves("a") == CYCLE


async def test_s02_who_asks_during_a_start_is_served_by_it_in_order(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=Behaviour(ready_after_s=3))

    clients = []
    for number in range(5):
        await stage.at(number * 0.2)
        clients.append(await stage.request("a"))
    await stage.at(3 + SOON_S)

    assert stage.spawns() == ["a"]
    assert stage.being_served("a") == clients
    [ready_at] = stage.times("a", "ready")
    assert {client.served_at for client in clients} == {ready_at}


@pytest.mark.parametrize("stopped_by", ["ttl", "unload"])
async def test_s03_a_request_during_a_stop_waits_for_it_and_gets_a_fresh_start(
    clock: MockClock, stage: Stage, stopped_by: str
) -> None:
    ttl = 5 if stopped_by == "ttl" else 0
    await stage.start(exclusive("a", unloadTimeout=10, ttl=ttl), a=[IGNORES_SIGTERM, NORMAL])
    await stage.have_ready("a")
    await stage.at(5)
    if stopped_by == "unload":
        await stage.unload("a")
    assert stage.state("a") == "stopping"

    await stage.at(6)
    client = await stage.request("a")
    await stage.at(14.9)
    assert client.waiting
    await stage.at(15)
    later = await stage.request("a")

    assert client.serving and client.served_at == 15
    assert later.serving
    assert client.gens == later.gens == [2]
    assert [name for name, _ in stage.launcher.processes[0].signals] == ["SIGTERM", "SIGKILL"]


async def test_s04_a_stop_during_the_start_ends_the_probing_and_the_child(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=Behaviour(ready_after_s=30, until_ready=HUNG, term_s=0.5))
    waiter = await stage.request("a")

    await stage.at(1)
    call = await stage.unload("a")
    await stage.at(60)

    assert waiter.code is RefusalCode.MODEL_UNLOADED  # `start_aborted` is for stops that are no unload
    assert waiter.ended_at == 1
    assert call.done_at == 1.5
    assert stage.signals("a") == [("SIGTERM", 1)]
    assert len(stage.prober.probes) == 1
    assert stage.moves("a") == TORN_DOWN_START


async def test_s05_a_shutdown_during_the_start_does_not_wait_for_the_health_limit(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", top={"healthCheckTimeout": 60}), a=NEVER_READY)
    waiter = await stage.request("a")

    await stage.at(1)
    await stage.shut_down()

    assert waiter.code is RefusalCode.SHUTTING_DOWN and waiter.retry_after_s == 5
    assert stage.ended_at == 1
    assert stage.moves("a") == [*TORN_DOWN_START, "stopped→shutdown"]


async def test_s06_a_command_that_exits_fails_the_start_at_once_and_says_why(
    clock: MockClock, stage: Stage
) -> None:
    last_words = "loading\nno such file \\x1b[31mmodel.gguf"
    behaviour = Behaviour(
        ready_after_s=None, exit_after_s=1, exit_status=ExitStatus(code=0), stderr=last_words
    )
    await stage.start(exclusive("a"), a=behaviour)

    client = await stage.request("a")
    await stage.at(1.05)

    assert client.code is RefusalCode.START_FAILED and client.ended_at == 1
    assert "exit status 0" in client.message.splitlines()[0]
    assert client.message.endswith(last_words)
    assert stage.moves("a") == FAILED_START


async def test_s07_a_command_that_cannot_run_is_tried_again_until_the_breaker_opens(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=Behaviour(launch_error="No such file or directory: 'serve'"))

    clients = await stage.requests("aaaa")

    assert [client.code for client in clients] == [*[RefusalCode.START_FAILED] * 3, RefusalCode.CRASH_LOOPING]
    assert {client.message for client in clients[:3]} == {"No such file or directory: 'serve'"}
    assert stage.spawns() == ["a"] * 3


async def test_s08_a_server_that_answers_503_until_it_has_loaded_is_noticed_soon_after(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=Behaviour(ready_after_s=7, until_ready=LOADING))

    client = await stage.request("a")
    await stage.at(8)

    assert client.served_at is not None and 7 <= client.served_at <= 7.25


async def test_s09_a_server_that_accepts_and_never_answers_times_out_at_its_limit(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(
        exclusive("a", health={"timeout": 15}), a=Behaviour(ready_after_s=None, until_ready=HUNG)
    )

    client = await stage.request("a")
    await stage.at(17)

    assert client.code is RefusalCode.START_TIMEOUT and client.ended_at == 15
    assert client.message.startswith("health check timed out after 15s")
    assert stage.signals("a") == [("SIGTERM", 15)]
    assert stage.moves("a") == TORN_DOWN_START


async def test_s10_without_a_check_endpoint_a_model_is_ready_as_soon_as_it_runs(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", checkEndpoint="none"), a=NEVER_READY)

    client = await stage.request("a")

    assert client.served_at == 0
    assert stage.prober.probes == []


async def test_s11_a_health_endpoint_that_redirects_is_not_ready(clock: MockClock, stage: Stage) -> None:
    redirect = ProbeResult(ProbeKind.BAD_STATUS, "status 302 (redirects are not followed)")
    await stage.start(
        exclusive("a", health={"timeout": 20}), a=Behaviour(ready_after_s=None, until_ready=redirect)
    )

    client = await stage.request("a")
    await stage.at(21)

    assert client.code is RefusalCode.START_TIMEOUT and client.ended_at == 20
    assert "302" in client.message
    assert "starting→ready" not in stage.moves("a")


async def test_s12_a_crash_ends_the_requests_in_flight_and_the_next_one_gets_a_new_instance(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"))
    streaming = await stage.request("a")

    await stage.at(5)
    stage.process("a").exit(ExitStatus(signal=11))
    await stage.at(5.05)
    stopped = stage.state("a")
    after = await stage.request("a")
    await stage.at(5.25)

    assert stopped == "stopped"
    assert streaming.broken is Revocation.UPSTREAM_LOST and streaming.ended_at == 5.25
    assert after.serving and after.gens == [2]
    assert stage.model("a").leases == stage.model("a").reserved == 1


async def test_s13_an_idle_crash_is_seen_and_nothing_is_started_for_it(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"))
    await stage.have_ready("a")

    await stage.at(5)
    stage.process("a").exit()
    await stage.at(100)
    moves, spawns = stage.moves("a"), stage.spawns()
    client = await stage.request("a")

    assert moves == ["stopped→starting", "starting→ready", "ready→stopped"]
    assert spawns == ["a"]
    assert client.serving and stage.spawns() == ["a", "a"]


async def test_s13_after_a_crash_the_queue_moves_on(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", "b", top=fifo(minLoaded=60)))
    await stage.have_ready("a")
    queued = await stage.request("b")
    assert queued.waiting

    await stage.at(5)
    stage.process("a").exit()
    await stage.settle()

    assert queued.served_at == 5


async def test_s14_s15_s16_a_stop_returns_when_the_whole_tree_is_gone(clock: MockClock, stage: Stage) -> None:
    """However the rest of the tree is found and killed, it takes a moment after the leader's end; the next
    start waits for it."""
    await stage.start(exclusive("a", unloadTimeout=5), a=[Behaviour(cleanup_s=0.3), NORMAL])
    await stage.have_ready("a")

    call = await stage.unload("a")
    client = await stage.request("a")
    await stage.at(1)

    assert call.done_at == 0.3
    assert client.served_at == 0.3 and client.gens == [2]


async def test_s17_after_a_crash_the_next_start_waits_for_the_rest_of_the_tree(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=[Behaviour(cleanup_s=0.5), NORMAL])
    await stage.have_ready("a")

    await stage.at(5)
    stage.process("a").exit(ExitStatus(signal=11))
    await stage.at(5.1)
    client = await stage.request("a")
    await stage.at(6)

    assert stage.times("a", "stopped") == [5.5]
    assert client.gens == [2] and client.served_at == 5.5


async def test_s18_a_command_that_goes_to_the_background_is_a_failed_start(
    clock: MockClock, stage: Stage
) -> None:
    daemonises = Behaviour(exit_after_s=0.5, exit_status=ExitStatus(code=0), ready_after_s=3, cleanup_s=0.2)
    await stage.start(exclusive("a"), a=daemonises)

    client = await stage.request("a")
    await stage.at(10)

    assert client.code is RefusalCode.START_FAILED and client.ended_at == 0.7
    assert "exited prematurely: exit status 0" in client.message
    assert "foreground" in client.message
    assert stage.moves("a") == FAILED_START and stage.launcher.alive() == []


async def test_s19_a_process_that_needs_its_time_to_stop_gets_it(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a", unloadTimeout=10), a=Behaviour(term_s=6))
    await stage.have_ready("a")

    call = await stage.unload("a")
    await stage.at(20)

    assert call.done_at == 6
    assert stage.signals("a") == [("SIGTERM", 0)]


async def test_s20_s22_s24_stop_command_and_environment_of_the_model_reach_the_launcher(
    clock: MockClock, stage: Stage
) -> None:
    stop = {"cmdStop": "docker stop --pid ${PID} a", "env": ["GPU=1"]}
    await stage.start(config({"a": stop}))

    await stage.have_ready("a")

    [spec] = stage.launcher.launched
    assert spec.stop_argv == ("docker", "stop", "--pid", "${PID}", "a")
    assert spec.env == ("GPU=1",)


async def test_s21_a_stop_that_has_no_effect_ends_in_sigkill_when_the_grace_is_over(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", cmdStop="hang", unloadTimeout=3), a=IGNORES_SIGTERM)
    await stage.have_ready("a")

    call = await stage.unload("a")
    await stage.at(5)

    assert call.done_at == 3
    assert stage.signals("a")[-1] == ("SIGKILL", 3)


async def test_s23_two_stops_at_once_send_one_signal_and_both_return(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=Behaviour(term_s=2))
    await stage.have_ready("a")

    first = await stage.unload("a")
    await stage.at(1)
    second = await stage.unload("a")
    await stage.at(5)
    third = await stage.unload("a")

    assert (first.done_at, second.done_at, third.done_at) == (2, 2, 5)
    assert stage.signals("a") == [("SIGTERM", 0)]
    assert stage.moves("a") == CYCLE


async def test_s23_a_later_stop_may_only_shorten_the_grace(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=IGNORES_SIGTERM)
    await stage.have_ready("a")

    calls = [await stage.unload("a", timeout_s=8), await stage.unload("a", timeout_s=60)]
    await stage.at(1)
    calls.append(await stage.unload("a", timeout_s=3))
    await stage.at(10)

    assert [call.done_at for call in calls] == [4, 4, 4]
    assert stage.signals("a") == [("SIGTERM", 0), ("SIGKILL", 4)]


async def test_s23_stopping_what_does_not_run_disturbs_no_waiting_start(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", "b"), a=Behaviour(ready_after_s=5))
    waiter = await stage.request("a")

    call = await stage.unload("b")
    await stage.at(6)

    assert call.done_at == 0
    assert stage.moves("b") == []
    assert waiter.serving


async def test_s26_a_lease_on_a_process_that_has_just_died_is_traded_for_the_next_one(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a", concurrencyLimit=1), a=[Behaviour(notice_s=0.04), NORMAL])
    await stage.have_ready("a")

    await stage.at(5)
    stage.process("a").exit()
    await stage.at(5.01)
    client = await stage.request("a")
    await stage.at(6)

    assert client.gens == [1, 2]
    assert client.serving and client.served_at == 5.04
    assert stage.model("a").reserved == 1


async def test_who_depends_on_a_process_that_does_not_die_is_told_so(clock: MockClock, stage: Stage) -> None:
    stuck_in_the_kernel = Behaviour(term_s=None, kill_s=None)
    await stage.start(exclusive("a", "b", unloadTimeout=5), a=[stuck_in_the_kernel, NORMAL])
    await stage.have_ready("a")

    b = await stage.request("b")
    await stage.at(16)
    late = [await stage.request("a"), await stage.request("b")]
    state = stage.state("a")
    await stage.at(1000)
    stage.process("a").exit(ExitStatus(signal=9))
    await stage.settle()
    at_last = await stage.request("b")

    assert stage.launcher.processes[0].signals[-1] == ("SIGKILL", 5)
    assert {client.code for client in [b, *late]} == {RefusalCode.STOP_STUCK}
    assert b.retry_after_s == 30
    assert b.ended_at is not None and 15 <= b.ended_at <= 16
    assert state == "stopping"
    assert at_last.serving


async def test_s67_readiness_is_recognised_within_a_few_hundredths_of_a_second(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(exclusive("a"), a=Behaviour(ready_after_s=0.13))

    client = await stage.request("a")
    await stage.at(0.18)

    assert client.serving


async def test_s67_a_stranger_on_the_port_fails_the_start(clock: MockClock, stage: Stage) -> None:
    await stage.start(exclusive("a"), a=Behaviour(launch_error="port in use by pid 4242 (python3)"))

    client = await stage.request("a")

    assert client.code is RefusalCode.START_FAILED
    assert "port in use" in client.message
    [spec] = stage.launcher.launched
    assert spec.own_port == stage.config.models["a"].port
