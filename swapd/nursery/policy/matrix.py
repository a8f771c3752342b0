"""The matrix: named expressions that say which models may run together.

An expression stands for an ordered family of model sets: a leaf for the one set of its model, `AnyOf` for
the families of its parts one after the other, `AllOf` for every union of one set of each part (the first
part varying slowest), a reference for the family of another expression. A set permits each of its subsets;
only what is asked for is started.

To start T while R runs, the candidates are all sets that hold T; the one that costs least wins, where the
cost is the sum over the members of R that are not in it; of equals the first. T in no set runs alone.

The family multiplies with every `&`, so it is never written out. A decision only needs what each set holds of
T and R: its *projection*, a bit mask. And it only needs the best one: of a choice the best of its parts; of a
conjunction whose parts have no model of the question in common, the best of each part together. Parts without
any model of the question are not even looked at. Only where parts of a conjunction share models are their
projections written out and combined, without those that are a subset of another: costs are positive, so a
smaller mask is never better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

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

TARGET = 1
"""The bit of the target."""

Choice = tuple[int, int]
"""What a set keeps, as (sum of the costs of what it holds, mask)."""


class _Question:
    """Which models a decision is about, and what is known so far. The mutable state is what is known."""

    def __init__(self, target: str, running: Sequence[str], costs: Mapping[str, int]) -> None:
        self.target = target
        self.bits = {target: TARGET} | {model: 2 << index for index, model in enumerate(running)}
        self.memo: dict[tuple[int, bool], Choice | None] = {}
        self.projections: dict[int, Masks] = {}
        self._models = frozenset(self.bits)
        self._weights = {self.bits[model]: costs.get(model, 1) for model in running}

    def choice(self, models: frozenset[str]) -> Choice:
        """What the set of these models keeps."""
        mask = 0
        for model in self._models & models:
            mask |= self.bits[model]
        return self.weight(mask), mask

    def weight(self, mask: int) -> int:
        """What it would cost to evict what is in the mask; the target counts nothing."""
        total, rest = 0, mask & ~TARGET
        while rest:
            bit = rest & -rest
            total += self._weights[bit]
            rest ^= bit
        return total


class _Node(Struct, frozen=True, eq=False):
    """An expression made ready for questions: which models occur below it, and in which parts."""

    all_of: bool
    model: str | None
    parts: tuple[_Node, ...]
    support: frozenset[str]
    parts_with: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    single: bool = True
    """There is one set in the family: all models of `support`."""

    def best(self, question: _Question, *, with_target: bool) -> Choice | None:
        """The set of this family that keeps most, the first of equals; None if it must hold the target and
        none does.
        """
        key = (id(self), with_target)
        if key not in question.memo:
            question.memo[key] = self._find_best(question, with_target)
        return question.memo[key]

    def _find_best(self, question: _Question, with_target: bool) -> Choice | None:
        if with_target and question.target not in self.support:
            return None
        if self.single:
            return question.choice(self.support)
        relevant = self._relevant_parts(question.bits)
        if not self.all_of:
            return _first_best(
                self.parts[index].best(question, with_target=with_target) for index in relevant
            )
        kept, union = 0, 0
        for component in self._components(relevant, question.bits):
            must = with_target and any(question.target in self.parts[index].support for index in component)
            best = self._best_of_component(component, question, must)
            if best is None:
                return None
            kept, union = kept + best[0], union | best[1]
        return kept, union

    def _best_of_component(
        self, component: Sequence[int], question: _Question, with_target: bool
    ) -> Choice | None:
        if len(component) == 1:
            return self.parts[component[0]].best(question, with_target=with_target)
        masks = self._product(component, question.bits, question.projections)
        return _first_best(
            (question.weight(mask), mask) for mask in masks if mask & TARGET or not with_target
        )

    def _components(self, relevant: Sequence[int], models: Iterable[str]) -> list[list[int]]:
        """The relevant parts, those together that share a model of the question, directly or over others."""
        component_of = {index: [index] for index in relevant}
        for model in models:
            sharing = self.parts_with.get(model, ())
            for one, other in pairwise(sharing):
                into, joined = component_of[one], component_of[other]
                if into is not joined:
                    into += joined
                    component_of.update(dict.fromkeys(joined, into))
        return list({id(component): sorted(component) for component in component_of.values()}.values())

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


def _first_best(choices: Iterable[Choice | None]) -> Choice | None:
    best: Choice | None = None
    for choice in choices:
        if choice is not None and (best is None or choice[0] > best[0]):
            best = choice
    return best


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
        self._sets_with: dict[str, int] = {}
        """In which sets a model occurs, as a bit mask."""
        for index, (_, node) in enumerate(self._sets):
            for model in node.support:
                self._sets_with[model] = self._sets_with.get(model, 0) | 1 << index
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
        if not wanted:
            return bool(self._sets)
        target, *others = wanted
        question = _Question(target, others, {})
        bests = (node.best(question, with_target=True) for _, node in self._candidates(target, others))
        return any(best is not None and best[0] == len(others) for best in bests)

    def _decide_uncached(self, target: str, running: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
        question = _Question(target, running, self._costs)
        kept, kept_mask, winner = -1, 0, None
        for name, node in self._candidates(target, running):
            best = node.best(question, with_target=True)
            if best is not None and best[0] > kept:
                (kept, kept_mask), winner = best, name
        return tuple(model for model in running if not kept_mask & question.bits[model]), winner

    def _candidates(self, target: str, running: Iterable[str]) -> Iterator[tuple[str, _Node]]:
        """The sets that may decide: those with the target that hold something that runs, and the first."""
        with_target = self._sets_with.get(target, 0)
        with_both = 0
        for model in running:
            with_both |= self._sets_with.get(model, 0)
        wanted = with_target & with_both | _lowest(with_target)
        while wanted:
            lowest = _lowest(wanted)
            wanted ^= lowest
            yield self._sets[lowest.bit_length() - 1]


def _lowest(bits: int) -> int:
    """The lowest bit that is set."""
    return bits & -bits


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
            all_of = isinstance(expression, AllOf)
            single = all(node.single for node in nodes) and (all_of or len(nodes) == 1)
            return _Node(all_of, None, nodes, frozenset(parts_with), frozen_parts, single)
