"""Selectors: which target a request gets, and when its place is free again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from attrs import define
from trio.testing import MockClock

from swapd.config.names import Selector, SelectorSettings
from swapd.http.errors import Rejected
from swapd.http.proxy.selectors import AWAY_S, Selectors
from swapd.nursery.states import ModelState

STOPPED, STARTING, READY = ModelState.STOPPED, ModelState.STARTING, ModelState.READY
STOPPING, SHUTDOWN = ModelState.STOPPING, ModelState.SHUTDOWN


@define
class Standing:
    state: ModelState
    retry_at: float | None = None


def selectors(models: Mapping[str, Standing | ModelState]) -> Selectors:
    standing = {id: Standing(how) if isinstance(how, ModelState) else how for id, how in models.items()}
    return Selectors(lambda: standing)


def selector(strategy: str, *targets: str, spillover: int = 1) -> Selector:
    resolved = tuple(target.removeprefix("alias-") for target in targets)
    return Selector(
        strategy=strategy, targets=targets, resolved=resolved, settings=SelectorSettings(spillover=spillover)
    )


@pytest.mark.parametrize(
    ("a", "b", "chosen"),
    [
        (STOPPED, STOPPED, "a"),
        (STOPPED, STARTING, "alias-b"),
        (STARTING, READY, "alias-b"),
        (READY, READY, "a"),
        (STOPPING, STOPPED, "a"),
        (STARTING, STARTING, "a"),
    ],
)
def test_given_warm_when_chosen_then_ready_comes_before_starting_before_the_first(
    a: ModelState, b: ModelState, chosen: str
) -> None:
    assert selectors({"a": a, "b": b}).choose("s", selector("warm", "a", "alias-b")).target == chosen


def test_given_pin_when_chosen_then_it_is_always_the_first() -> None:
    some = selectors({"a": STOPPING, "b": READY})
    assert {some.choose("s", selector("pin", "alias-a", "b")).target for _ in range(3)} == {"alias-a"}


async def test_given_spillover_when_all_are_cold_then_the_first_starts_and_the_next_follows_when_full() -> (
    None
):
    some, two = selectors({"a": STOPPED, "b": STOPPED}), selector("spillover", "a", "b", spillover=2)
    assert [some.choose("s", two).target for _ in range(6)] == ["a", "a", "b", "b", "a", "b"]
    assert (some.reserved("s", "a"), some.reserved("s", "b")) == (3, 3)


async def test_given_spillover_when_a_request_ends_then_its_place_is_free_once() -> None:
    some, two = selectors({"a": READY, "b": STOPPED}), selector("spillover", "a", "b")
    first = some.choose("s", two)
    assert some.choose("s", two).target == "b"
    first.release()
    first.release()
    assert some.reserved("s", "a") == 0
    assert some.choose("s", two).target == "a"


async def test_given_spillover_when_targets_are_equal_then_they_take_turns() -> None:
    some = selectors({"a": READY, "b": READY, "c": READY})
    three = selector("spillover", "a", "b", "c", spillover=5)
    chosen = []
    for _ in range(6):
        choice = some.choose("s", three)
        chosen.append(choice.target)
        choice.release()
    assert chosen == ["a", "b", "c", "a", "b", "c"]


async def test_given_spillover_when_a_target_cannot_take_requests_then_it_is_passed_over() -> None:
    open_breaker = Standing(STOPPED, retry_at=float("inf"))
    some = selectors({"a": STOPPING, "b": open_breaker, "c": STOPPED})
    assert some.choose("s", selector("spillover", "a", "b", "c")).target == "c"
    with pytest.raises(Rejected) as refused:
        some.choose("s", selector("spillover", "a", "b"))
    assert refused.value.answer.code == "no_target"
    assert refused.value.answer.message == 'selector "s" has no available spillover targets'


async def test_given_spillover_when_a_target_is_a_peers_then_it_is_in_use_while_it_has_requests() -> None:
    some, mixed = selectors({"a": READY}), selector("spillover", "a", "peer/m")
    assert [some.choose("s", mixed).target for _ in range(4)] == ["a", "peer/m", "peer/m", "a"]


async def test_given_two_selectors_when_chosen_then_their_places_are_their_own() -> None:
    some, two = selectors({"a": STOPPED, "b": STOPPED}), selector("spillover", "a", "b")
    assert [some.choose(id, two).target for id in ("s", "t", "s", "t")] == ["a", "a", "b", "b"]


async def test_given_spillover_when_a_peer_was_out_of_reach_then_others_come_first_for_a_while(
    autojump_clock: MockClock,
) -> None:
    some, two = selectors({"a": STOPPED}), selector("spillover", "hub/big", "a", spillover=9)
    first = some.choose("s", two)
    assert first.target == "hub/big"
    some.pass_over(first)
    first.release()
    assert [some.choose("s", two).target for _ in range(3)] == ["a", "a", "a"]
    await trio.sleep(AWAY_S + 1)
    many = selector("spillover", "hub/big", "a", spillover=1)
    assert some.choose("s", many).target == "hub/big"


async def test_given_spillover_when_all_peers_were_out_of_reach_then_one_is_tried_all_the_same() -> None:
    some, two = selectors({}), selector("spillover", "hub/big", "den/big")
    for target in ("hub/big", "den/big"):
        choice = some.choose("s", two)
        assert choice.target == target
        some.pass_over(choice)
        choice.release()
    assert some.choose("s", two).target == "hub/big"
