"""Who may run together with whom: pure functions from what runs to what must stop.

A policy does no I/O, logs nothing and changes nothing. It is asked once a request and once a queued model at
every change, far more often than swaps happen.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class View(Struct, frozen=True):
    """What a policy may look at: the models that hold memory now or soon will, in byte order, without the
    target.
    """

    running: tuple[str, ...]


class Policy(Protocol):
    """Decides which models must stop so that another can run."""

    @property
    def name(self) -> str:
        """The word of the configuration: "group", "matrix"."""
        ...

    def evict(self, target: str, view: View) -> tuple[str, ...] | None:
        """The members of `view.running` that must stop before `target` may run, in byte order.

        None means that `target` can never run. The same arguments give the same answer.
        """
        ...

    def reason(self, target: str, evicted: tuple[str, ...]) -> str:
        """Why `evicted` has to go, for the one log line of the swap."""
        ...
