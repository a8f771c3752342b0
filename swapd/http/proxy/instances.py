"""What the proxy keeps for each running instance: its connections, and how it ended."""

from __future__ import annotations

import trio
from attrs import define, field

from swapd.config import ModelConfig
from swapd.http.upstream import BaseURL, Timeouts, UpstreamPool
from swapd.nursery.events import Crashed, StateChanged
from swapd.nursery.lease import Lease
from swapd.nursery.manager import Manager, ManagerEvent
from swapd.nursery.states import ModelState

NEWS_WITHIN_S = 0.25
"""How long a request that lost its upstream waits to learn why; the death of a process shows at once."""


@define(eq=False)
class _Entry:
    """One instance: the newest of its model that was asked for, or that has ended."""

    gen: int
    pool: UpstreamPool | None = None
    ended: trio.Event = field(factory=trio.Event)
    last_words: str = ""


class Instances:
    """The connection pools of the running instances, each closed when the manager reports its instance gone.

    The mutable state is `_entries`, at most one a model. `pool` and `how_it_ended` add to it; the manager's
    events close pools and record endings.
    """

    def __init__(self, manager: Manager) -> None:
        self._entries: dict[str, _Entry] = {}
        self._unsubscribe = manager.subscribe(self._on_event)

    def pool(self, lease: Lease, model: ModelConfig) -> UpstreamPool:
        """The connections to the instance of `lease`. Raises `UnsupportedURL`."""
        entry = self._entry(lease.model, lease.gen)
        if entry.pool is None:
            limits = model.timeouts
            entry.pool = UpstreamPool(
                BaseURL.parse(lease.base_url),
                Timeouts(
                    connect_s=limits.connect_s,
                    keepalive_s=limits.keepalive_s,
                    response_header_s=limits.response_header_s,
                    idle_conn_s=limits.idle_conn_s,
                ),
            )
        return entry.pool

    async def how_it_ended(self, lease: Lease) -> str:
        """What is known of the end of a lease's instance, after a moment of waiting for the news.

        Exit status and last lines of stderr if it crashed; empty if it seems to be alive.
        """
        entry = self._entry(lease.model, lease.gen)
        with trio.move_on_after(NEWS_WITHIN_S):
            await entry.ended.wait()
        return entry.last_words

    def close(self) -> None:
        """Close all idle connections and listen to the manager no more."""
        self._unsubscribe()
        while self._entries:
            _close(self._entries.popitem()[1])

    def _entry(self, model: str, gen: int) -> _Entry:
        """The entry of one instance; an instance older than the newest known has nothing left to keep."""
        entry = self._entries.get(model)
        if entry is not None and entry.gen == gen:
            return entry
        new = _Entry(gen)
        if entry is not None and entry.gen > gen:
            new.ended.set()
            return new
        if entry is not None:
            _close(entry)
        self._entries[model] = new
        return new

    def _on_event(self, event: ManagerEvent) -> None:
        match event:
            case StateChanged(model, ModelState.READY, new, gen):
                entry = self._entry(model, gen)
                _close(entry)
                entry.last_words = entry.last_words or f"the server of model {model} is {new.value}"
                entry.ended.set()
            case Crashed(model, gen, message):
                entry = self._entry(model, gen)
                entry.last_words = message
                entry.ended.set()
            case _:
                pass


def _close(entry: _Entry) -> None:
    if entry.pool is not None:
        entry.pool.close()
        entry.pool = None
