"""Random histories: whatever happens in whatever order, the promises of the core hold.

`SWAPD_HYPOTHESIS=long` runs many more and longer histories.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from swapd.nursery.breaker import BreakerSettings
from swapd.nursery.events import AbandonLoad, ModelRules, Settings, Slot, Ticket
from swapd.nursery.policy.group import Group, GroupPolicy
from swapd.nursery.states import ModelState
from tests.unit.nursery.world import World

NAMES = ("a", "b", "c", "d")

model_rules = st.builds(
    ModelRules,
    ttl_s=st.sampled_from([0.0, 5.0, 60.0]),
    unload_timeout_s=st.sampled_from([1.0, 10.0]),
    concurrency_limit=st.sampled_from([1, 2, 10]),
    priority=st.integers(-1, 1),
    max_wait_s=st.sampled_from([0.0, 3.0, 20.0]),
    queue_timeout_s=st.sampled_from([0.0, 0.0, 15.0]),
    auto_restart=st.booleans(),
    launch=st.integers(1, 2),
)
switches = st.tuples(st.booleans(), st.booleans(), st.booleans())


@st.composite
def policies(draw: st.DrawFn) -> GroupPolicy:
    """Each model in one of two groups with random switches, or in none."""
    places = draw(st.lists(st.sampled_from(["", "g", "h"]), min_size=len(NAMES), max_size=len(NAMES)))
    groups = []
    for name in ("g", "h"):
        swap, exclusive, persistent = draw(switches)
        members = frozenset(id for id, place in zip(NAMES, places, strict=True) if place == name)
        groups.append(Group(name, members, swap=swap, exclusive=exclusive, persistent=persistent))
    return GroupPolicy(groups)


core_settings = st.builds(
    Settings,
    policy=policies(),
    min_loaded_s=st.sampled_from([0.0, 0.0, 4.0]),
    abandon_load=st.sampled_from(AbandonLoad),
    reload_drain_s=st.sampled_from([5.0, 300.0]),
    breaker=st.just(BreakerSettings(threshold=2)),
)
configurations = st.dictionaries(st.sampled_from(NAMES), model_rules, min_size=1)


class Histories(RuleBasedStateMachine):
    """Every verb of the world, in any order; the world checks the invariants after each."""

    world: World

    @initialize(models=st.fixed_dictionaries(dict.fromkeys(NAMES, model_rules)), settings=core_settings)
    def begin(self, models: dict[str, ModelRules], settings: Settings) -> None:
        self.world = World(models, settings)

    def tickets(self, slot: Slot) -> list[Ticket]:
        return [ticket for ticket in self.world.tickets if ticket.slot is slot]

    @rule(model=st.sampled_from(NAMES), hot=st.booleans())
    def request(self, model: str, hot: bool) -> None:
        self.world.request(model, hot=hot)

    @rule(model=st.sampled_from(NAMES), limit=st.sampled_from([None, 2.0]))
    def request_with_options(self, model: str, limit: float | None) -> None:
        self.world.request(model, ready_only=limit is None, queue_timeout_s=limit)

    @precondition(lambda self: self.tickets(Slot.WAITING))
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        self.world.cancel(data.draw(st.sampled_from(self.tickets(Slot.WAITING))))

    @precondition(lambda self: self.tickets(Slot.GRANTED))
    @rule(data=st.data(), hot=st.booleans())
    def finish(self, data: st.DataObject, hot: bool) -> None:
        self.world.finish(data.draw(st.sampled_from(self.tickets(Slot.GRANTED))), hot=hot)

    @precondition(lambda self: self.lost())
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        self.world.requeue(data.draw(st.sampled_from(self.lost())))

    def lost(self) -> list[Ticket]:
        return [t for t in self.tickets(Slot.GRANTED) if (t.model, t.gen) not in self.world.instances]

    def starting(self) -> list[str]:
        return [id for id, state in self.world.states.items() if state is ModelState.STARTING]

    def alive(self) -> list[str]:
        return sorted({id for id, _ in self.world.instances})

    @precondition(lambda self: self.starting())
    @rule(data=st.data())
    def becomes_ready(self, data: st.DataObject) -> None:
        self.world.ready(data.draw(st.sampled_from(self.starting())))

    @precondition(lambda self: self.starting())
    @rule(data=st.data())
    def start_times_out(self, data: st.DataObject) -> None:
        self.world.start_times_out(data.draw(st.sampled_from(self.starting())))

    @precondition(lambda self: self.alive())
    @rule(data=st.data())
    def process_ends(self, data: st.DataObject) -> None:
        self.world.exits(data.draw(st.sampled_from(self.alive())))

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(models=st.lists(st.sampled_from(NAMES), max_size=2), drain=st.booleans())
    def unload(self, models: list[str], drain: bool) -> None:
        self.world.unload(*models, drain=drain)

    @precondition(lambda self: not self.world.shutdown_begun)
    @rule(models=configurations, settings=core_settings)
    def reload(self, models: dict[str, ModelRules], settings: Settings) -> None:
        self.world.reload(models, settings)

    @rule(chance=st.integers(0, 19))
    def shut_down(self, chance: int) -> None:
        if chance == 0:
            self.world.shut_down()

    def teardown(self) -> None:
        """When every client has gone and every process has ended as asked, nothing is left."""
        if not hasattr(self, "world"):
            return
        world = self.world
        for ticket in self.tickets(Slot.WAITING):
            world.cancel(ticket)
        for ticket in self.tickets(Slot.GRANTED):
            world.finish(ticket)
        if not world.shutdown_begun:
            world.shut_down()
        while world.instances:
            world.exits(self.alive()[0])
        assert world.drained
        assert not world.open_calls
        assert all(record.reserved == 0 for record in world.core.records.values())


TestHistories = Histories.TestCase
TestHistories.settings = (
    settings(max_examples=20_000, stateful_step_count=120, deadline=None)
    if os.environ.get("SWAPD_HYPOTHESIS") == "long"
    else settings(max_examples=300, stateful_step_count=60, deadline=None, derandomize=True)
)
TestHistories.settings = settings(TestHistories.settings, suppress_health_check=list(HealthCheck))
