"""The matrix: named expressions that say which models may run together.

An expression stands for an ordered family of model sets: a leaf for the one set of its model, `AnyOf` for
the families of its parts one after the other, `AllOf` for every union of one set of each part (the first
part varying slowest), a reference for the family of another expression. A set permits each of its subsets;
only what is asked for is started.

To start T while R runs, the candidates are all sets that hold T; the one that costs least wins, where the
cost is the sum over the members of R that are not in it; of equals the first. T in no set runs alone.

The family multiplies with every `&`, so it is never written out. A decision only needs each set's
*projection* on T and R, as a bit mask, and of those only the maximal ones: costs are positive, so a smaller
mask always costs more. Parts without any of these models all project to the empty mask and are not even
looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct, field

from swapd.nursery.policy import View

CACHED_DECISIONS = 4096
"""How many (target, running) pairs are remembered: queues ask the same question again at every event."""


class Leaf(Struct, frozen=True):
    """The one set that holds just this model."""

    model: str


class Reference(Struct, frozen=True):
    """The family of the set of that name."""

    name: str


class AnyOf(Struct, frozen=True):
    """The families of the parts, one after the other."""

    parts: tuple[Expression, ...]


class AllOf(Struct, frozen=True):
    """Every union of one set of each part."""

    parts: tuple[Expression, ...]


Expression = Leaf | Reference | AnyOf | AllOf

Masks = tuple[int, ...]
"""A projected family: bit masks over the models of the question, none a subset of another, in order."""

EMPTY: Masks = (0,)


class _Node(Struct, frozen=True, eq=False):
    """An expression made ready for questions: which models occur below it, and in which parts."""

    all_of: bool
    model: str | None
    parts: tuple[_Node, ...]
    support: frozenset[str]
    parts_with: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def project(self, bits: Mapping[str, int], memo: dict[int, Masks]) -> Masks:
        """The maximal masks of this family over the models in `bits`."""
        if self.model is not None:
            return (bits.get(self.model, 0),)
        known = memo.get(id(self))
        if known is None:
            relevant = self._relevant_parts(bits)
            known = self._product(relevant, bits, memo) if self.all_of else self._union(relevant, bits, memo)
            memo[id(self)] = known
        return known

    def _relevant_parts(self, bits: Iterable[str]) -> list[int]:
        return sorted({index for model in bits for index in self.parts_with.get(model, ())})

    def _product(self, relevant: Iterable[int], bits: Mapping[str, int], memo: dict[int, Masks]) -> Masks:
        family: Masks = EMPTY
        for index in relevant:
            further = self.parts[index].project(bits, memo)
            family = _maximal(mask | more for mask in family for more in further)
        return family

    def _union(self, relevant: Iterable[int], bits: Mapping[str, int], memo: dict[int, Masks]) -> Masks:
        masks = [mask for index in relevant for mask in self.parts[index].project(bits, memo)]
        return _maximal(masks) if masks else EMPTY


def _maximal(masks: Iterable[int]) -> Masks:
    """Each mask once, in order of first appearance, without those that are a subset of another."""
    distinct = dict.fromkeys(masks)
    if len(distinct) == 1:
        return tuple(distinct)
    return tuple(a for a in distinct if not any(a != b and a & b == a for b in distinct))


class MatrixPolicy:
    """The policy of `matrix:`; immutable once made.

    `sets` are the named expressions in the order that breaks ties. `costs` are positive; a model not listed
    costs 1. Raises `KeyError` for a reference to a set that is not there."""

    name = "matrix"

    def __init__(
        self, sets: Sequence[tuple[str, Expression]], costs: Mapping[str, int] | None = None
    ) -> None:
        self._costs = dict(costs or {})
        expressions = dict(sets)
        compiled: dict[str, _Node] = {}
        self._sets = [(name, _compile(Reference(name), expressions, compiled)) for name, _ in sets]
        self._sets_with: dict[str, list[int]] = {}
        for index, (_, node) in enumerate(self._sets):
            for model in node.support:
                self._sets_with.setdefault(model, []).append(index)
        self._decide = lru_cache(CACHED_DECISIONS)(self._decide_uncached)

    def evict(self, target: str, view: View) -> tuple[str, ...]:
        """See `Policy.evict`; never impossible."""
        return self._decide(target, view.running)[0]

    def reason(self, target: str, evicted: tuple[str, ...]) -> str:
        """See `Policy.reason`."""
        if not self._sets_with.get(target):
            return "it is in no set of the matrix, so it runs alone"
        return f"the cheapest set of the matrix that holds it does not hold {', '.join(evicted)}"

    def winner(self, target: str, view: View) -> str | None:
        """The name of the set that decides; None if the target is in no set."""
        return self._decide(target, view.running)[1]

    def can_coexist(self, models: Iterable[str]) -> bool:
        """Whether some set holds all of these models."""
        wanted = list(dict.fromkeys(models))
        bits = {model: 1 << index for index, model in enumerate(wanted)}
        everything = (1 << len(wanted)) - 1
        memo: dict[int, Masks] = {}
        return any(everything in node.project(bits, memo) for _, node in self._sets)

    def _decide_uncached(self, target: str, running: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
        bits = {target: 1} | {model: 2 << index for index, model in enumerate(running)}
        best_cost, best_mask, winner = sum(map(self._cost, running)) + 1, 1, None
        memo: dict[int, Masks] = {}
        for index in self._sets_with.get(target, ()):
            name, node = self._sets[index]
            for mask in node.project(bits, memo):
                if not mask & 1:
                    continue
                cost = sum(self._cost(model) for model in running if not mask & bits[model])
                if cost < best_cost:
                    best_cost, best_mask, winner = cost, mask, name
        return tuple(model for model in running if not best_mask & bits[model]), winner

    def _cost(self, model: str) -> int:
        return self._costs.get(model, 1)


def _compile(expression: Expression, sets: Mapping[str, Expression], compiled: dict[str, _Node]) -> _Node:
    match expression:
        case Leaf(model):
            return _Node(False, model, (), frozenset({model}))
        case Reference(name):
            if name not in compiled:
                compiled[name] = _compile(sets[name], sets, compiled)
            return compiled[name]
        case AnyOf(parts) | AllOf(parts):
            nodes = tuple(_compile(part, sets, compiled) for part in parts)
            parts_with: dict[str, list[int]] = {}
            for index, node in enumerate(nodes):
                for model in node.support:
                    parts_with.setdefault(model, []).append(index)
            frozen_parts = {model: tuple(indexes) for model, indexes in parts_with.items()}
            return _Node(isinstance(expression, AllOf), None, nodes, frozenset(parts_with), frozen_parts)
