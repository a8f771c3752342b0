"""The queue of tickets that can be neither granted, joined nor started yet.

Order: tickets of models with a claim (in the order of the claims), then by priority, then by arrival.
"""

from __future__ import annotations

from attrs import define, field

from swapd.nursery.events import Ticket

ClaimRank = tuple[float, int, int]
"""How claims are ordered: deadline, negated priority, arrival."""


@define(eq=False)
class TicketQueue:
    """The queued tickets by model and by arrival, and the claims among them.

    A claim belongs to a model and exists only while a ticket of it is queued: `remove` ends it with the
    last one."""

    _tickets: dict[int, Ticket] = field(factory=dict)
    """By sequence number."""
    _by_model: dict[str, dict[int, Ticket]] = field(factory=dict)
    claims: dict[str, ClaimRank] = field(factory=dict)

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket.sequence in self._tickets

    @property
    def models(self) -> list[str]:
        """Models with a queued ticket, in byte order."""
        return sorted(self._by_model)

    def add(self, ticket: Ticket) -> None:
        self._tickets[ticket.sequence] = ticket
        self._by_model.setdefault(ticket.model, {})[ticket.sequence] = ticket

    def remove(self, ticket: Ticket) -> bool:
        """Take the ticket out; return whether its model has none left (its claim, if it had one, is over
        then).
        """
        del self._tickets[ticket.sequence]
        ticket.position = None
        of_model = self._by_model[ticket.model]
        del of_model[ticket.sequence]
        if of_model:
            return False
        del self._by_model[ticket.model]
        self.claims.pop(ticket.model, None)
        return True

    def find(self, sequence: int) -> Ticket | None:
        return self._tickets.get(sequence)

    def of(self, model: str) -> list[Ticket]:
        """The model's queued tickets by arrival."""
        of_model = self._by_model.get(model, {})
        return [of_model[sequence] for sequence in sorted(of_model)]

    def oldest(self, model: str) -> float:
        """When the model's first queued ticket began to queue (monotonic seconds)."""
        return min(ticket.queued_at or 0.0 for ticket in self._by_model[model].values())

    def claim(self, model: str, deadline: float) -> None:
        """Put the model's tickets before all that have no claim."""
        first = self.of(model)[0]
        self.claims[model] = (deadline, -first.priority, first.sequence)

    def claimed(self) -> list[str]:
        """Models with a claim, the first in line first."""
        return sorted(self.claims, key=self.claims.__getitem__)

    def ordered(self) -> list[Ticket]:
        """Every queued ticket, the first in line first."""
        no_claim = (1,)

        def rank(ticket: Ticket) -> tuple[tuple[float, ...], int, int]:
            claim = self.claims.get(ticket.model)
            return ((0, *claim) if claim else no_claim, -ticket.priority, ticket.sequence)

        return sorted(self._tickets.values(), key=rank)

    def reprioritise(self, priorities: dict[str, int]) -> None:
        """Take over new priorities (by model) for what is queued already."""
        for ticket in self._tickets.values():
            ticket.priority = priorities[ticket.model]

    def models_ahead_of(self, ticket: Ticket) -> int:
        """How many other models have a ticket before this one."""
        ahead: set[str] = set()
        for other in self.ordered():
            if other is ticket:
                break
            ahead.add(other.model)
        return len(ahead - {ticket.model})

    def publish_positions(self) -> None:
        """Write the 1-based place on every queued ticket."""
        for place, ticket in enumerate(self.ordered(), start=1):
            ticket.position = place
