"""Random histories of the decision core, played out in a `World` that checks every promise after every step.

A history is a seed, which makes the configuration and says how eventful the day is, and a list of numbers,
each of which is a step: what happens, and to whom. So hypothesis can shorten a history that fails, plain
random numbers can play a million of them, and a failure can be told in two lines.

    python -m tests.unit.nursery.histories --minutes 30 [--steps 120] [--seed 1]

plays random ones for that long, and ends with the first that breaks a promise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any, TypeVar

from swapd.nursery.breaker import BreakerSettings
from swapd.nursery.events import AbandonLoad, LeaseDone, ModelRules, Settings, Slot, Ticket
from swapd.nursery.policy import Policy
from swapd.nursery.policy.group import Group, GroupPolicy
from swapd.nursery.policy.matrix import AllOf, AnyOf, Expression, Leaf, MatrixPolicy, Reference
from swapd.nursery.reports import Ending, EndingKind, Gone, Ready, StopStuck
from tests.unit.nursery.world import FakeInstance, World

NAMES = ("a", "b", "c", "d")
STEP_BITS = 24
STEPS = 60

T = TypeVar("T")


# -- configurations ----------------------------------------------------------------------------------------


def random_rules(random: Random) -> ModelRules:
    return ModelRules(
        ttl_s=random.choice([0.0, 5.0, 5.0, 60.0]),
        unload_timeout_s=random.choice([1.0, 10.0]),
        concurrency_limit=random.choice([1, 2, 10, 10]),
        priority=random.randint(-1, 1),
        max_wait_s=random.choice([0.0, 3.0, 20.0]),
        queue_timeout_s=random.choice([0.0, 0.0, 15.0]),
        auto_restart=random.random() < 0.3,
        launch=random.randint(1, 2),
    )


def random_models(random: Random, *, all_of_them: bool = False) -> dict[str, ModelRules]:
    names = NAMES if all_of_them else random.sample(NAMES, random.choice([2, 3, 4, 4]))
    return {name: random_rules(random) for name in names}


def random_policy(random: Random) -> Policy:
    return random.choice([random_groups, random_matrix])(random)


def random_groups(random: Random) -> Policy:
    """Each model in one of two groups with random switches, or in none."""
    members: dict[str, set[str]] = {"g": set(), "h": set(), "": set()}
    for name in NAMES:
        members[random.choice(list(members))].add(name)
    del members[""]

    def switch() -> bool:
        return random.random() < 0.5

    return GroupPolicy(
        Group(name, frozenset(of_group), swap=switch(), exclusive=switch(), persistent=switch())
        for name, of_group in members.items()
    )


def random_matrix(random: Random) -> Policy:
    """One to three sets, of which a later one may refer to an earlier one."""
    sets: list[tuple[str, Expression]] = []
    for number in range(random.randint(1, 3)):
        known = [Reference(name) for name, _ in sets]
        sets.append((f"set{number}", _random_expression(random, known, depth=2)))
    costs = {name: random.randint(1, 3) for name in NAMES if random.random() < 0.5}
    return MatrixPolicy(sets, costs)


def _random_expression(random: Random, known: Sequence[Reference], depth: int) -> Expression:
    if not depth or random.random() < 0.2:
        return random.choice([*known, *(Leaf(name) for name in NAMES)])
    parts = tuple(_random_expression(random, known, depth - 1) for _ in range(random.randint(2, 3)))
    return random.choice([AllOf, AnyOf])(parts)


def random_settings(random: Random) -> Settings:
    return Settings(
        policy=random_policy(random),
        min_loaded_s=random.choice([0.0, 0.0, 4.0]),
        abandon_load=random.choice(list(AbandonLoad)),
        reload_drain_s=random.choice([5.0, 300.0]),
        breaker=BreakerSettings(threshold=2),
    )


# -- steps -------------------------------------------------------------------------------------------------


class History:
    """One history in progress. `story` tells the steps that were possible, for people."""

    def __init__(self, seed: int) -> None:
        random = Random(seed)
        self.world = World(random_models(random, all_of_them=True), random_settings(random))
        self.story: list[str] = []
        self._table = _TABLES[seed % 2]

    def step(self, number: int) -> None:
        """Let happen what the number says, or if that cannot happen now, what would come next anyway."""
        pick, row = divmod(number, len(self._table))
        if row == 0:
            return  # what a history is shortened with
        for verb in (self._table[row], *_WHAT_COMES_NEXT):
            done = verb(self, pick)
            if done is not None:
                self.story.append(f"t={self.world.now:g}: {verb.__name__} {done}")
                return

    def end(self) -> None:
        self.story.append("end")
        self.world.end()

    # Each verb takes a number to choose by, and returns what it did, or None if it was not possible.

    def request(self, pick: int) -> str:
        model, hot = "aaabbcd"[pick % 7], pick // 7 % 4 > 0
        self.world.request(model, hot=hot)
        return f"{model} {'directly' if hot else ''}"

    def request_with_options(self, pick: int) -> str:
        model = NAMES[pick % 4]
        options: dict[str, Any] = [{"ready_only": True}, {"queue_timeout_s": 2.0}][pick // 4 % 2]
        self.world.request(model, **options)
        return f"{model} {options}"

    def disconnect(self, pick: int) -> str | None:
        return self._to_ticket(pick, [Slot.WAITING], self.world.cancel)

    def finish(self, pick: int) -> str | None:
        hot = bool(pick & 1)
        return self._to_ticket(pick // 2, [Slot.GRANTED], lambda ticket: self.world.finish(ticket, hot=hot))

    def requeue(self, pick: int) -> str | None:
        world = self.world
        lost = [t for t in self._tickets(Slot.GRANTED) if not self._alive(t)]
        return _do(pick, lost, world.requeue)

    def _alive(self, ticket: Ticket) -> bool:
        instance = self.world.instances.get((ticket.model, ticket.gen))
        return instance is not None and not instance.exited and not instance.ended

    def _to_ticket(self, pick: int, slots: list[Slot], do: Callable[[Ticket], None]) -> str | None:
        return _do(pick, [ticket for slot in slots for ticket in self._tickets(slot)], do)

    def _tickets(self, slot: Slot) -> list[Ticket]:
        finished = [event.ticket for event in self.world.inbox if isinstance(event, LeaseDone)]
        return [
            ticket for ticket in self.world.open_tickets if ticket.slot is slot and ticket not in finished
        ]

    def spawned(self, pick: int) -> str | None:
        return self._to_instance(pick, lambda each: not each.ready, self.world.spawned)

    def becomes_ready(self, pick: int) -> str | None:
        return self._to_instance(pick, _is_loading, self.world.ready)

    def start_times_out(self, pick: int) -> str | None:
        return self._to_instance(pick, _is_loading, self.world.start_times_out)

    def cannot_spawn(self, pick: int) -> str | None:
        return self._to_instance(pick, _is_loading, lambda model: self.world.exits(model, spawned=False))

    def stop_completes(self, pick: int) -> str | None:
        return self._to_instance(pick, lambda each: each.stopping or each.exited, self.world.exits)

    def process_ends(self, pick: int) -> str | None:
        return self._to_instance(pick, lambda each: True, self.world.exits)

    def leader_exits(self, pick: int) -> str | None:
        return self._to_instance(pick, _serves, self.world.exited)

    def falls_silent(self, pick: int) -> str | None:
        return self._to_instance(pick, _serves, self.world.falls_silent)

    def stop_refuses(self, pick: int) -> str | None:
        return self._to_instance(pick, lambda each: each.stopping, self.world.stuck)

    def _to_instance(
        self, pick: int, which: Callable[[FakeInstance], bool], do: Callable[[str], object]
    ) -> str | None:
        found = [each.model for each in self.world.instances.values() if not each.ended and which(each)]
        return _do(pick, found, do)

    def stale_report(self, pick: int) -> str:
        model = NAMES[pick % 4]
        record = self.world.core.records.get(model)
        gen = record.gen - 1 if record is not None else pick // 4 % 8
        reports = Ready(model, gen), StopStuck(model, gen), Gone(model, gen, Ending(EndingKind.EXITED))
        self.world.stale(reports[pick // 32 % 3])
        return f"{model} #{gen}"

    def time_passes(self, pick: int) -> str:
        seconds = (0.1, 1.0, 2.5, 5.0, 20.0)[pick % 5]
        self.world.advance(seconds)
        return f"{seconds} s"

    def unload(self, pick: int) -> str:
        drain, timeout_s = bool(pick & 1), (None, 3.0)[pick >> 1 & 1]
        models = (NAMES[(pick >> 2) % 4],) if pick >> 4 & 3 else ()
        self.world.unload(*models, drain=drain, timeout_s=timeout_s)
        return f"{models or 'all'} {drain=}"

    def load(self, pick: int) -> str:
        model = NAMES[pick % 4]
        self.world.reset_breaker(model)
        self.world.request(model, hot=False)
        return model

    def reload(self, pick: int) -> str | None:
        if self.world.shutdown_begun:
            return None
        random = Random(pick)
        settings = self.world.settings if random.random() < 0.5 else random_settings(random)
        models = random_models(random)
        kept = {id: rules for id, rules in self.world.models.items() if id in models}
        if random.random() < 0.5:
            models |= kept
        self.world.reload(models, settings)
        return f"{models} {settings}"

    def lag(self, pick: int) -> str:
        """From now on the inbox is not looked at for a while."""
        self.world.lagging = True
        return ""

    def catch_up(self, pick: int) -> str:
        self.world.catch_up()
        return ""

    def shut_down(self, pick: int) -> str:
        self.world.shut_down(drain_s=(2.0, 30.0)[pick % 2])
        return ""


def _is_loading(instance: FakeInstance) -> bool:
    return not instance.ready and not instance.stopping


def _serves(instance: FakeInstance) -> bool:
    return instance.ready and not instance.stopping and not instance.exited


def _do(pick: int, candidates: Sequence[T], do: Callable[[T], object]) -> str | None:
    """Do it to one of the candidates, if there are any."""
    if not candidates:
        return None
    chosen = candidates[pick % len(candidates)]
    do(chosen)
    return str(chosen)


_CALM = {
    History.request: 60,
    History.request_with_options: 6,
    History.disconnect: 8,
    History.finish: 60,
    History.becomes_ready: 45,
    History.stop_completes: 30,
    History.time_passes: 40,
    History.requeue: 12,
    History.unload: 2,
    History.load: 1,
    History.reload: 2,
    History.lag: 3,
    History.catch_up: 5,
    History.leader_exits: 1,
    History.process_ends: 1,
}
"""Days on which models load, serve and take each other's places."""

_WILD = {
    **_CALM,
    History.disconnect: 14,
    History.finish: 40,
    History.requeue: 24,
    History.spawned: 3,
    History.start_times_out: 5,
    History.cannot_spawn: 3,
    History.process_ends: 8,
    History.leader_exits: 5,
    History.falls_silent: 4,
    History.stop_refuses: 3,
    History.stale_report: 4,
    History.time_passes: 24,
    History.unload: 8,
    History.load: 4,
    History.reload: 6,
    History.lag: 6,
    History.shut_down: 1,
}
"""Days on which everything happens."""

Verb = Callable[[History, int], str | None]

_WHAT_COMES_NEXT: tuple[Verb, ...] = (
    History.becomes_ready,
    History.stop_completes,
    History.finish,
    History.request,
)


def _table(weights: dict[Verb, int]) -> list[Verb]:
    """Each verb as often as it weighs; the first row stays empty."""
    verbs = [verb for verb, weight in weights.items() for _ in range(weight)]
    return [verbs[0], *verbs]


_TABLES = _table(_CALM), _table(_WILD)


# -- playing -----------------------------------------------------------------------------------------------


def play(seed: int, steps: Sequence[int]) -> History:
    """Play a history to its end. What breaks a promise raises, with the story as a note."""
    history = History(seed)
    try:
        for number in steps:
            history.step(number)
        history.end()
    except Exception as error:
        error.add_note("\n".join(history.story))
        raise
    return history


def random_steps(random: Random, length: int) -> list[int]:
    return [random.getrandbits(STEP_BITS) for _ in range(length)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=2 * STEPS, help="of each history")
    parser.add_argument("--seed", type=int, default=1, help="of the first history; the next one has the next")
    given = parser.parse_args()
    begun = time.monotonic()
    for played in count():
        if time.monotonic() - begun > 60 * given.minutes:
            break
        seed = given.seed + played
        try:
            play(seed, random_steps(Random(seed), given.steps))
        except Exception:
            print(f"the history of --seed {seed} --steps {given.steps} breaks a promise", file=sys.stderr)
            raise
    last = given.seed + played - 1
    print(f"{played} histories of {given.steps} steps, seeds {given.seed} to {last}: no promise was broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
