"""Scenarios of a changed configuration and of the end of the daemon: the manager's part in them."""

from __future__ import annotations

import json

from trio.testing import MockClock

from swapd.nursery.events import RefusalCode, Revocation
from tests.scenarios.configs import config, free
from tests.scenarios.stage import Stage
from tests.unit.nursery.fakes import NORMAL, Behaviour


def with_command(text: str, model: str, cmd: str) -> str:
    """The configuration with another command for one model."""
    edited = json.loads(text)
    edited["models"][model]["cmd"] = cmd
    return json.dumps(edited)


async def test_s61_reload_touches_only_what_changed(clock: MockClock, stage: Stage) -> None:
    before = free("A", "B")
    await stage.start(before, B=[Behaviour(term_s=1), NORMAL])
    a, b = await stage.requests("AB")
    port = {id: model.port for id, model in stage.config.models.items()}
    process = stage.process("A")

    after = free("A", "AA", "B")
    applied = await stage.reload(with_command(after, "B", "serve B --new ${PORT}"))
    await stage.at(1)
    waiting = await stage.request("B")
    draining = (b.serving, waiting.waiting, stage.state("B"))
    await b.finish()
    await stage.at(2)
    await stage.have_ready("AA")

    assert (applied.added, applied.restarted, applied.unchanged) == (("AA",), ("B",), ("A",))
    assert a.serving and stage.process("A") is process and not process.signals
    assert draining == (True, True, "ready")
    assert waiting.served_at == 2 and waiting.gens != b.gens
    assert stage.process("B").spec.argv == ("serve", "B", "--new", str(port["B"]))
    ports = {id: model.port for id, model in stage.config.models.items()}
    assert (ports["A"], ports["B"]) == (port["A"], port["B"])
    assert ports["AA"] not in port.values()
    assert stage.process("AA").spec.own_port == ports["AA"]


async def test_s61_a_start_whose_command_changed_is_repeated_for_the_same_waiters(
    clock: MockClock, stage: Stage
) -> None:
    text = free("A")
    await stage.start(text, A=[Behaviour(ready_after_s=60, term_s=1), NORMAL])
    waiter = await stage.request("A")

    await stage.at(2)
    await stage.reload(with_command(text, "A", "serve better ${PORT}"))
    await stage.at(3)

    assert waiter.served_at == 3 and waiter.gens == [2]
    assert stage.process("A").spec.argv[:2] == ("serve", "better")


async def test_s61_of_two_edits_in_quick_succession_the_last_wins(clock: MockClock, stage: Stage) -> None:
    text = free("A", "B")
    await stage.start(text, A=Behaviour(term_s=1))
    await stage.have_ready("A", "B")

    await stage.reload(with_command(text, "A", "serve first ${PORT}"))
    await stage.reload(with_command(text, "A", "serve second ${PORT}"))
    client = await stage.request("A")
    await stage.at(5)

    assert client.serving
    assert [spec.argv[1] for spec in stage.launcher.launched if spec.model == "A"] == ["A", "second"]
    assert stage.spawns("B") == ["B"]


async def test_s61_waiters_of_a_removed_model_are_told_so(clock: MockClock, stage: Stage) -> None:
    await stage.start(free("A", "B"), A=Behaviour(ready_after_s=60, term_s=1))
    waiter = await stage.request("A")

    await stage.reload(free("B"))
    late = await stage.request("A")
    await stage.at(5)

    assert waiter.code is late.code is RefusalCode.NOT_FOUND
    assert "A" not in stage.manager.snapshot().models
    assert stage.moves("A")[-1] == "stopped→shutdown"


async def test_s61_requests_of_a_removed_model_finish_and_a_model_of_that_name_may_come_back(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(config({"A": {}, "B": {}}, reload={"drain": 60}), A=Behaviour(term_s=1))
    client = await stage.request("A", takes_s=10)

    await stage.reload(config({"B": {}}, reload={"drain": 60}))
    await stage.at(11)
    gone = "A" not in stage.manager.snapshot().models
    await stage.reload(config({"A": {}, "B": {}}))
    again = await stage.request("A")

    assert client.served and gone
    assert again.serving


async def test_s61_a_request_that_outlasts_the_drain_of_a_reload_is_cut(
    clock: MockClock, stage: Stage
) -> None:
    text = config({"A": {}}, reload={"drain": 60})
    await stage.start(text)
    endless = await stage.request("A")

    await stage.at(1)
    await stage.reload(with_command(text, "A", "serve other ${PORT}"))
    await stage.at(62)

    assert stage.times("A", "stopping") == [61]
    assert endless.broken is Revocation.UPSTREAM_LOST


async def test_two_hundred_reloads_in_a_row_leave_an_unchanged_model_alone(
    clock: MockClock, stage: Stage
) -> None:
    """Each changes B's command, every third adds or removes C, every fourth changes A's idle time; requests
    come in between."""
    await stage.start(
        free("A", "B"), A=Behaviour(ready_after_s=0.1), B=Behaviour(ready_after_s=0.1, term_s=0.1)
    )
    stream = await stage.request("A")
    await stage.at(1)

    for number in range(200):
        names = ["A", "B", "C"] if number % 3 else ["A", "B"]
        ttl = 100 if number % 4 else 0
        await stage.reload(
            with_command(free(*names, ttl=ttl), "B", f"serve B --number {number} --port ${{PORT}}")
        )
        if number % 2:
            await stage.request("B", takes_s=0)
        if number % 5 == 1 and number % 3:
            await stage.request("C", takes_s=0.2)
        await stage.at(round(stage.now + 0.25, 6))
    await stage.at(stage.now + 10)

    assert stream.serving and stage.spawns("A") == ["A"]
    assert stage.times("A", "stopping") == []
    assert [client.code for client in stage.clients if client.code] == []
    assert stage.process("B").spec.argv[3] == "199"
    assert len({spec.base_url for spec in stage.launcher.launched if spec.model == "B"}) == 1


async def test_s63_a_drain_lets_requests_go_on_and_a_second_signal_cuts_them(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(free("A", "B"), A=Behaviour(term_s=None), B=Behaviour(term_s=None))
    long, _ = await stage.requests("AB")

    await stage.at(1)
    await stage.shut_down(drain_s=30)
    late = await stage.request("A")
    await stage.at(3)
    going_on = long.serving
    stage.manager.kill_all()
    await stage.settle()

    assert late.code is RefusalCode.SHUTTING_DOWN
    assert going_on
    assert long.broken is Revocation.SHUTTING_DOWN and long.ended_at == 3
    assert stage.signals("A")[-1] == stage.signals("B")[-1] == ("SIGKILL", 3)
    assert stage.ended_at == 3


async def test_s63_a_request_that_outlasts_the_drain_is_cut_and_everything_is_stopped(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(free("A"), A=Behaviour(term_s=None))
    long = await stage.request("A")

    await stage.shut_down(drain_s=30)
    await stage.at(40)

    assert long.broken is Revocation.SHUTTING_DOWN and long.ended_at == 30
    assert stage.signals("A") == [("SIGTERM", 30), ("SIGKILL", 32)]
    assert stage.ended_at == 32
