"""Can several models run at the same time, by the rules in force?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from swapd.config.expressions import AllOf, AnyOf, Expression, Model, Reference
from swapd.config.frozen import FrozenMap
from swapd.config.model import ModelConfig
from swapd.config.routing import Matrix, MemorySettings, Routing


def can_coexist(models: Sequence[str], routing: Routing, configs: Mapping[str, ModelConfig]) -> bool:
    """True when the rules let all of the models run together."""
    if routing.engine == "matrix":
        return routing.matrix is not None and _in_one_set(models, routing.matrix)
    if routing.engine == "memory":
        return _fit(models, routing.memory, configs)
    return any(not group.swap and set(models) <= set(group.members) for group in routing.groups.values())


def may_overlap(one: str, other: str, routing: Routing, configs: Mapping[str, ModelConfig]) -> bool:
    """True when two models can be seen running at once, whichever was started first."""
    return stays(one, other, routing, configs) or stays(other, one, routing, configs)


def stays(other: str, target: str, routing: Routing, configs: Mapping[str, ModelConfig]) -> bool:
    """True when `other`, running alone, keeps running while `target` is started."""
    if routing.engine != "group":
        return can_coexist((other, target), routing, configs)
    mine, theirs = routing.group_of(target), routing.group_of(other)
    if mine.name == theirs.name:
        return not mine.swap
    return not mine.exclusive or theirs.persistent


def _fit(models: Iterable[str], memory: MemorySettings, configs: Mapping[str, ModelConfig]) -> bool:
    """The known demands fit into the budgets; what is not known is not held against them."""
    if not isinstance(memory.budgets, FrozenMap):
        return True
    used: dict[str, int] = {}
    for model in models:
        for device, size in configs[model].memory.items():
            used[device] = used.get(device, 0) + size
    return all(size <= memory.budgets.get(device, size) for device, size in used.items())


def _in_one_set(models: Sequence[str], matrix: Matrix) -> bool:
    expressions = {entry.name: entry.expression for entry in matrix.sets}
    projection = _Projection({model: 1 << index for index, model in enumerate(models)}, expressions)
    everything = (1 << len(models)) - 1
    return any(everything in projection.masks(expression) for expression in expressions.values())


class _Projection:
    """Expressions reduced to the models in question, as bit masks; only the largest masks are kept.

    So the sets of an expression are never written out, however many there are.
    """

    def __init__(self, bits: Mapping[str, int], expressions: Mapping[str, Expression]) -> None:
        self.bits = bits
        self.expressions = expressions
        self.known: dict[str, frozenset[int]] = {}

    def masks(self, expression: Expression) -> frozenset[int]:
        if isinstance(expression, Model):
            return frozenset({self.bits.get(expression.id, 0)})
        if isinstance(expression, Reference):
            if expression.set not in self.known:
                self.known[expression.set] = self.masks(self.expressions[expression.set])
            return self.known[expression.set]
        parts = [self.masks(part) for part in expression.parts]
        if isinstance(expression, AnyOf):
            return _largest(mask for part in parts for mask in part)
        assert isinstance(expression, AllOf)
        union: frozenset[int] = frozenset({0})
        for part in parts:
            union = _largest(left | right for left in union for right in part)
        return union


def _largest(masks: Iterable[int]) -> frozenset[int]:
    """Without the masks that are contained in another."""
    kept: list[int] = []
    for mask in sorted(set(masks), key=int.bit_count, reverse=True):
        if not any(mask | other == other for other in kept):
            kept.append(mask)
    return frozenset(kept)
