"""The matrix against its definition, and against brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swapd.nursery.policy import View
from swapd.nursery.policy.matrix import AllOf, AnyOf, Expression, Leaf, MatrixPolicy, Reference


def leaves(*names: str) -> tuple[Leaf, ...]:
    return tuple(Leaf(name) for name in names)


def any_of(*names: str) -> AnyOf:
    return AnyOf(leaves(*names))


WORKED = MatrixPolicy(
    [
        ("std", AllOf((any_of("g", "q", "m"), Leaf("v")))),
        ("rr", AllOf((any_of("g", "q"), Leaf("v"), Leaf("e")))),
        ("pic", AllOf((any_of("g", "q"), Leaf("sd")))),
        ("big", Leaf("L")),
    ],
    {"v": 50, "L": 30},
)


@pytest.mark.parametrize(
    ("running", "target", "evicted", "winner"),
    [
        ("gv", "q", "g", "std"),
        ("gv", "L", "gv", "big"),
        ("gv", "sd", "v", "pic"),
        ("eqv", "g", "q", "rr"),
        ("gv", "x", "gv", None),
    ],
)
def test_the_cheapest_set_wins_and_the_first_of_equals(
    running: str, target: str, evicted: str, winner: str | None
) -> None:
    view = View(tuple(running))
    assert WORKED.evict(target, view) == tuple(evicted)
    assert WORKED.winner(target, view) == winner


def test_a_running_model_that_is_in_no_set_is_evicted_by_any_target() -> None:
    assert WORKED.evict("g", View(("stray", "v"))) == ("stray",)


def test_can_coexist_asks_for_one_set_that_holds_all() -> None:
    assert WORKED.can_coexist(["g", "v", "e"])
    assert not WORKED.can_coexist(["g", "q"])


def test_a_product_of_a_million_sets_is_decided_without_writing_it_out() -> None:
    factors = [any_of(*(f"{letter}{n}" for n in range(10))) for letter in "abcdef"]
    policy = MatrixPolicy([("all", AllOf(tuple(factors)))])
    running = tuple(f"{letter}3" for letter in "abcdef")
    assert policy.evict("c7", View(running)) == ("c3",)


def test_a_product_is_not_written_out_even_if_everything_runs() -> None:
    """As may be after a reload: 200 models run side by side, and from now on one of each 20 may."""
    factors = [any_of(*(f"{letter}{n:02}" for n in range(20))) for letter in "abcdefghij"]
    everything = tuple(f"{letter}{n:02}" for letter in "abcdefghij" for n in range(20))
    policy = MatrixPolicy([("all", AllOf(tuple(factors)))], {"b07": 5})
    evicted = policy.evict("c19", View(tuple(model for model in everything if model != "c19")))
    kept = sorted(set(everything) - set(evicted))
    assert kept == ["a00", "b07", "c19", *(f"{letter}00" for letter in "defghij")]


def test_parts_that_share_models_are_decided_together() -> None:
    policy = MatrixPolicy(
        [("all", AllOf((any_of("a", "b"), any_of("b", "c"), any_of("x", "y"))))], {"c": 3, "y": 2}
    )
    assert policy.evict("a", View(tuple("bcxy"))) == ("b", "x")
    assert policy.evict("b", View(tuple("acxy"))) == ("a", "x")


# -- the oracle: write every family out ----------------------------------------------------------------


def family(expression: Expression, sets: dict[str, Expression]) -> list[frozenset[str]]:
    match expression:
        case Leaf(model):
            return [frozenset({model})]
        case Reference(name):
            return family(sets[name], sets)
        case AnyOf(parts):
            return list(dict.fromkeys(one for part in parts for one in family(part, sets)))
        case AllOf(parts):
            choices = product(*(family(part, sets) for part in parts))
            return list(dict.fromkeys(frozenset().union(*choice) for choice in choices))


def brute_force(
    sets: list[tuple[str, Expression]], costs: dict[str, int], target: str, running: tuple[str, ...]
) -> tuple[int, list[tuple[str, ...]], str | None]:
    """The least cost, every eviction that has it, and the first definition that offers it."""

    def cost(chosen: frozenset[str]) -> int:
        return sum(costs.get(model, 1) for model in running if model not in chosen)

    named = dict(sets)
    candidates = [(name, one) for name, tree in sets for one in family(tree, named) if target in one]
    if not candidates:
        return cost(frozenset()), [running], None
    least = min(cost(one) for _, one in candidates)
    best = [(name, one) for name, one in candidates if cost(one) == least]
    evictions = [tuple(model for model in running if model not in one) for _, one in best]
    return least, list(dict.fromkeys(evictions)), best[0][0]


MODELS = "abcdefg"
leaf = st.builds(Leaf, st.sampled_from(MODELS))
trees = st.recursive(
    leaf,
    lambda inner: (
        st.builds(AnyOf, st.lists(inner, min_size=1, max_size=4).map(tuple))
        | st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=10,
)


@st.composite
def matrices(draw: st.DrawFn) -> list[tuple[str, Expression]]:
    """One to four sets; a later one may refer to an earlier one."""
    made: list[tuple[str, Expression]] = []
    for number in range(draw(st.integers(1, 4))):
        tree = draw(trees)
        if made and draw(st.booleans()):
            tree = AllOf((Reference(draw(st.sampled_from(made))[0]), tree))
        made.append((f"s{number}", tree))
    return made


@settings(max_examples=500, deadline=None, derandomize=True)
@given(
    matrices(),
    st.dictionaries(st.sampled_from(MODELS), st.integers(1, 5)),
    st.sampled_from(MODELS),
    st.sets(st.sampled_from(MODELS + "z")),
)
def test_agrees_with_brute_force(
    sets: list[tuple[str, Expression]], costs: dict[str, int], target: str, others: set[str]
) -> None:
    running = tuple(sorted(others - {target}))
    policy = MatrixPolicy(sets, costs)
    least, evictions, winner = brute_force(sets, costs, target, running)
    evicted = policy.evict(target, View(running))
    assert sum(costs.get(model, 1) for model in evicted) == least
    assert evicted in evictions
    assert policy.winner(target, View(running)) == winner
