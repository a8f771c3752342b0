"""A new configuration, applied by difference: what did not change goes on as if nothing had happened.

A model is the same as before if its `launch` identity is: then its process, its leases and its queue are
left alone, and all other rules take effect for later decisions. A model whose identity changed is
*condemned*: its leases end, it gets no new ones, and when it is idle it is stopped; the next request starts
the new command. Nothing is evicted only because the policy has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from swapd.nursery import refusals
from swapd.nursery.context import Context
from swapd.nursery.events import ModelRules, Refusal, ReloadApplied, Settings, StopReason
from swapd.nursery.lifecycle import Lifecycle
from swapd.nursery.records import ModelRecord
from swapd.nursery.states import ModelState


class Reloader:
    """Applies configurations. `refuse_everybody` refuses who waits for a model and aborts its swap."""

    def __init__(
        self,
        context: Context,
        lifecycle: Lifecycle,
        refuse_everybody: Callable[[ModelRecord, Refusal, StopReason], None],
    ) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._refuse_everybody = refuse_everybody

    def apply(self, models: Mapping[str, ModelRules], settings: Settings) -> None:
        """Make `models` and `settings` the ones in force; says in `ReloadApplied` what that meant."""
        self._context.settings = settings
        records = self._lifecycle.models
        removed = [id for id, record in records.items() if id not in models and not record.removed]
        added: list[str] = []
        restarted: list[str] = []
        updated: list[str] = []
        unchanged: list[str] = []
        for id in removed:
            self._remove(records[id])
        for id in sorted(models):
            record, rules = self._lifecycle.models.get(id), models[id]
            if record is None:
                self._lifecycle.add(id, rules)
                added.append(id)
                continue
            if record.removed:
                added.append(id)
            elif record.rules.launch != rules.launch:
                restarted.append(id)
            else:
                (unchanged if record.rules == rules else updated).append(id)
            self._take_over(record, rules)
        parts = (tuple(part) for part in (added, removed, restarted, updated, unchanged))
        self._context.emit(ReloadApplied(*parts))

    def _take_over(self, record: ModelRecord, rules: ModelRules) -> None:
        """Apply new rules to a model; replace what runs only if it was started from something else."""
        if record.rules.launch != rules.launch:
            record.breaker.reset()
        record.rules = rules
        record.removed = False
        if record.state is ModelState.READY and record.launch == rules.launch:
            self._keep(record)
        elif record.state is ModelState.READY and not record.condemned:
            self._lifecycle.condemn(record, StopReason.RELOADED)
        elif record.state is ModelState.STARTING and record.launch != rules.launch:
            self._lifecycle.stop(record, StopReason.RELOADED)  # its swap lives on and starts the new command

    def _keep(self, record: ModelRecord) -> None:
        if record.condemned is StopReason.RELOADED:  # an edit that was taken back
            self._lifecycle.pardon(record)
        self._context.timers.clear(record.ttl_key)
        self._lifecycle.arm_ttl(record)

    def _remove(self, record: ModelRecord) -> None:
        record.removed = True
        self._refuse_everybody(record, refusals.UNKNOWN_MODEL, StopReason.RELOADED)
        if record.state is ModelState.READY and not record.condemned:
            self._lifecycle.condemn(record, StopReason.RELOADED)
        elif record.state is ModelState.STOPPED:
            self._lifecycle.drop(record)
