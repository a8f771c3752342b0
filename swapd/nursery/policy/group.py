"""Groups: models that take turns, models that stand side by side, and models that others leave alone.

A group has three switches. `swap`: its members take turns. `exclusive`: starting a member stops the models
of other groups. `persistent`: other groups leave its members alone. A model in no group belongs to an
implicit group that is swap, exclusive and not persistent; so without any groups one model runs at a time.

Exclusivity is a property of the model that is *asked for*: starting a non-exclusive model leaves a running
exclusive group alone, and both stay. When the exclusive one is asked for again, the other has to go first,
although the one asked for is ready."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from swapd.nursery.policy import View


class Group(Struct, frozen=True):
    """One group of the configuration; `members` are model ids."""

    name: str
    members: frozenset[str] = frozenset()
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


DEFAULT_GROUP = Group("(default)")
"""Where a model belongs that is in no group."""


class GroupPolicy:
    """The policy of `groups:`; immutable once made. A model is a member of at most one group."""

    name = "group"

    def __init__(self, groups: Iterable[Group] = ()) -> None:
        self._group_of = {member: group for group in groups for member in group.members}

    def group_of(self, model: str) -> Group:
        return self._group_of.get(model, DEFAULT_GROUP)

    def evict(self, target: str, view: View) -> tuple[str, ...]:
        """See `Policy.evict`; never impossible."""
        own = self.group_of(target)
        return tuple(
            model for model in view.running if model != target and self._displaces(own, self.group_of(model))
        )

    def reason(self, target: str, evicted: tuple[str, ...]) -> str:
        """See `Policy.reason`."""
        own = self.group_of(target)
        same = all(self.group_of(model) is own for model in evicted)
        return f"group {own.name} runs one model at a time" if same else f"group {own.name} is exclusive"

    @staticmethod
    def _displaces(own: Group, other: Group) -> bool:
        if own is other:
            return own.swap  # `persistent` does not protect inside its own group
        return own.exclusive and not other.persistent
