"""The truth table of groups, row by row."""

from __future__ import annotations

import pytest

from swapd.nursery.policy import View
from swapd.nursery.policy.group import Group, GroupPolicy

BOTH = (True, False)


@pytest.mark.parametrize("persistent", BOTH)
@pytest.mark.parametrize("exclusive", BOTH)
@pytest.mark.parametrize("swap", BOTH)
def test_within_a_group_only_swap_decides(swap: bool, exclusive: bool, persistent: bool) -> None:
    members = frozenset({"t", "m"})
    policy = GroupPolicy([Group("g", members, swap=swap, exclusive=exclusive, persistent=persistent)])
    assert policy.evict("t", View(("m",))) == (("m",) if swap else ())


@pytest.mark.parametrize("other_persistent", BOTH)
@pytest.mark.parametrize("other_exclusive", BOTH)
@pytest.mark.parametrize("own_exclusive", BOTH)
@pytest.mark.parametrize("swap", BOTH)
def test_across_groups_an_exclusive_target_displaces_what_is_not_persistent(
    swap: bool, own_exclusive: bool, other_exclusive: bool, other_persistent: bool
) -> None:
    own = Group("g", frozenset({"t"}), swap=swap, exclusive=own_exclusive)
    other = Group("h", frozenset({"m"}), swap=swap, exclusive=other_exclusive, persistent=other_persistent)
    evicted = GroupPolicy([own, other]).evict("t", View(("m",)))
    assert evicted == (("m",) if own_exclusive and not other_persistent else ())


def test_without_groups_one_model_runs_at_a_time() -> None:
    assert GroupPolicy().evict("t", View(("a", "b"))) == ("a", "b")


def test_an_ungrouped_model_displaces_everything_but_persistent_groups() -> None:
    policy = GroupPolicy(
        [Group("keep", frozenset({"embed"}), persistent=True), Group("side", frozenset({"tts"}), swap=False)]
    )
    assert policy.evict("chat", View(("embed", "tts"))) == ("tts",)
