"""Selectors: names that stand for one of several targets, chosen anew for each request.

    pin        always the first target
    warm       the first that is ready, else the first that is starting, else the first
    spillover  the least busy of those in use, until each has as many requests as the setting allows; then
               one that is not in use yet; a peer that could not be reached a moment ago comes last

Choosing and reserving is one step without waiting in between, so two requests never see the same last place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import trio
from msgspec import Struct

from swapd.config.names import Selector
from swapd.http.errors import Rejected
from swapd.nursery.states import ModelState

AWAY_S: Final = 10.0
"""How long a peer that could not be reached is passed over: trying it costs whoever does it time."""


class Standing(Protocol):
    """How a local model stands."""

    @property
    def state(self) -> ModelState: ...

    @property
    def retry_at(self) -> float | None:
        """Until when its breaker is open, in trio's time; None if it is not."""


class Choice(Struct, eq=False):
    """A chosen target, and the place reserved there. `release` it when the request has ended."""

    target: str
    """As configured, so that an alias keeps its own parameters."""
    selector: str = ""
    give_back: Callable[[], None] | None = None

    def release(self) -> None:
        """Give the place back. May be called more than once."""
        give_back, self.give_back = self.give_back, None
        if give_back is not None:
            give_back()


class _Candidate(Struct, frozen=True):
    """A target with the number of requests that have a place there."""

    target: str
    resolved: str
    reserved: int


class Selectors:
    """Chooses targets. `standing` tells how the local models stand, by id, at the moment.

    The mutable state are the places taken, by selector and resolved target, how often each selector had to
    choose between equals, and until when a target is passed over. All survive a change of the configuration.
    """

    def __init__(self, standing: Callable[[], Mapping[str, Standing]]) -> None:
        self._standing = standing
        self._reserved: Counter[tuple[str, str]] = Counter()
        self._turns: Counter[str] = Counter()
        self._away_until: dict[str, float] = {}

    def choose(self, id: str, selector: Selector) -> Choice:
        """A target for one request. Raises `Rejected` if no target can take it."""
        match selector.strategy:
            case "warm":
                return Choice(self._warmest(selector), id)
            case "spillover":
                return self._reserve(id, self._with_room(id, selector))
            case _:
                return Choice(selector.targets[0], id)

    def pass_over(self, choice: Choice) -> None:
        """Its target, a model of a peer, could not be reached: others come first for `AWAY_S`."""
        self._away_until[choice.target] = trio.current_time() + AWAY_S

    def reserved(self, id: str, resolved: str) -> int:
        """How many requests have a place at a target."""
        return self._reserved[id, resolved]

    # -- warm ------------------------------------------------------------------------------------------------

    def _warmest(self, selector: Selector) -> str:
        models = self._standing()
        targets = list(zip(selector.targets, selector.resolved, strict=True))
        for state in (ModelState.READY, ModelState.STARTING):
            for target, resolved in targets:
                if resolved in models and models[resolved].state is state:
                    return target
        return selector.targets[0]

    # -- spillover -------------------------------------------------------------------------------------------

    def _with_room(self, id: str, selector: Selector) -> _Candidate:
        active, cold, away = self._sorted_out(id, selector)
        if active:
            least = min(candidate.reserved for candidate in active)
            if least < selector.settings.spillover or not cold:
                return self._next_of(id, [candidate for candidate in active if candidate.reserved == least])
        if cold or away:
            return (cold or away)[0]
        message = f'selector "{id}" has no available spillover targets'
        raise Rejected.with_code("no_target", message)

    def _sorted_out(
        self, id: str, selector: Selector
    ) -> tuple[list[_Candidate], list[_Candidate], list[_Candidate]]:
        """The targets in use, those that are not, and those passed over.

        Local ones that cannot take a request now are in none of them.
        """
        models = self._standing()
        active: list[_Candidate] = []
        cold: list[_Candidate] = []
        away: list[_Candidate] = []
        for target, resolved in zip(selector.targets, selector.resolved, strict=True):
            model = models.get(resolved)
            if model is not None and not _can_take(model):
                continue
            candidate = _Candidate(target, resolved, self._reserved[id, resolved])
            if self._is_away(target):
                away.append(candidate)
                continue
            runs = model is not None and model.state in (ModelState.READY, ModelState.STARTING)
            (active if runs or candidate.reserved else cold).append(candidate)
        return active, cold, away

    def _is_away(self, target: str) -> bool:
        until = self._away_until.get(target)
        return until is not None and until > trio.current_time()

    def _next_of(self, id: str, equals: list[_Candidate]) -> _Candidate:
        turn = self._turns[id]
        self._turns[id] += 1
        return equals[turn % len(equals)]

    def _reserve(self, id: str, candidate: _Candidate) -> Choice:
        place = (id, candidate.resolved)
        self._reserved[place] += 1

        def give_back() -> None:
            self._reserved[place] -= 1
            if self._reserved[place] <= 0:
                del self._reserved[place]

        return Choice(candidate.target, id, give_back)


def _can_take(model: Standing) -> bool:
    if model.state in (ModelState.STOPPING, ModelState.SHUTDOWN):
        return False
    return model.retry_at is None or model.retry_at <= trio.current_time()
