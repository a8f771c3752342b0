"""Scenarios of who may run together: groups and the matrix, from the configuration text to the processes.

The policies by themselves are tested in tests/unit/nursery/policy, with a brute-force oracle and timings.
"""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from tests.scenarios.configs import config, groups, side_by_side
from tests.scenarios.stage import Stage
from tests.unit.nursery.fakes import Behaviour

# -- groups ------------------------------------------------------------------------------------------------

ROWS = [
    # switches of the target's group, of the other's (None: the same group), evicted?
    pytest.param({"swap": True}, None, True, id="same group, swap"),
    pytest.param(
        {"swap": True, "persistent": True}, None, True, id="same group, persistent does not protect"
    ),
    pytest.param({"swap": False}, None, False, id="same group, side by side"),
    pytest.param({"exclusive": True}, {"persistent": False}, True, id="exclusive target"),
    pytest.param({"exclusive": True}, {"persistent": True}, False, id="exclusive target, persistent other"),
    pytest.param({"exclusive": False}, {"exclusive": True}, False, id="only the target's exclusivity counts"),
]


@pytest.mark.parametrize(("target", "other", "evicted"), ROWS)
async def test_s52_groups_row_by_row(
    clock: MockClock, stage: Stage, target: dict[str, Any], other: dict[str, Any] | None, evicted: bool
) -> None:
    if other is None:
        table = groups(g={"members": ["t", "m"], **target})
    else:
        table = groups(g={"members": ["t"], **target}, h={"members": ["m"], **other})
    await stage.start(config({"t": {}, "m": {}}, **table))
    await stage.have_ready("m")

    t = await stage.request("t")

    assert t.serving
    assert stage.state("m") == ("stopped" if evicted else "ready")


async def test_s52b_a_ready_exclusive_model_first_evicts_what_came_beside_it(
    clock: MockClock, stage: Stage
) -> None:
    beside = groups(side=side_by_side("b"))
    await stage.start(config({"a": {}, "b": {}}, **beside), b=Behaviour(term_s=2))
    await stage.have_ready("a", "b")

    a = await stage.request("a")
    await stage.at(1)
    while_evicting = (a.waiting, stage.states("ab"))
    await stage.at(2)

    assert while_evicting == (True, ["ready", "stopping"])
    assert a.served_at == 2 and a.gens == [1]


async def test_s52c_two_models_of_a_group_asked_for_at_once_never_overlap(
    clock: MockClock, stage: Stage
) -> None:
    turns = groups(g={"members": ["a", "b"], "swap": True, "exclusive": False})
    await stage.start(config({"a": {}, "b": {}}, **turns), a=Behaviour(spawn_s=1))

    await stage.requests("ab", takes_s=1)
    await stage.at(5)

    assert stage.served_order == "ab"
    assert stage.launcher.lived_together == {frozenset("a"), frozenset("b")}


# -- the matrix --------------------------------------------------------------------------------------------

MATRIX = {
    "sets": {"std": "(g | q | m) & v", "rr": "(g | q) & v & e", "pic": "(g | q) & sd", "big": "L"},
    "evict_costs": {"v": 50, "L": 30},
}
MODELS: dict[str, dict[str, Any]] = {name: {} for name in ("g", "q", "m", "v", "e", "sd", "L", "x")}


@pytest.mark.parametrize(
    ("running", "target", "evicted"),
    [
        ("g v", "q", ("g",)),
        ("g v", "L", ("g", "v")),
        ("g v", "sd", ("v",)),
        ("e q v", "g", ("q",)),
        ("e g v", "e", ()),
        ("g v", "x", ("g", "v")),
        ("x", "g", ("x",)),
    ],
)
async def test_s53_the_worked_table_of_the_matrix(
    clock: MockClock, stage: Stage, running: str, target: str, evicted: tuple[str, ...]
) -> None:
    await stage.start(config(MODELS, matrix=MATRIX))
    await stage.have_ready(*running.split())
    assert stage.swaps == []

    client = await stage.request(target)

    assert client.serving
    assert stage.swaps == ([(target, evicted)] if evicted else [])


async def test_s53_a_target_that_is_stopping_evicts_nobody(clock: MockClock, stage: Stage) -> None:
    await stage.start(config(MODELS, matrix=MATRIX), g=Behaviour(term_s=2))
    await stage.have_ready("g", "v")
    await stage.unload("g")

    client = await stage.request("g")
    await stage.at(2)

    assert client.served_at == 2
    assert stage.swaps == []


async def test_s53_a_set_permits_its_subsets_and_starts_only_what_is_asked_for(
    clock: MockClock, stage: Stage
) -> None:
    await stage.start(config(MODELS, matrix=MATRIX))

    await stage.have_ready("v", "e")

    assert stage.spawns() == ["v", "e"]
    assert stage.state("v") == stage.state("e") == "ready"
