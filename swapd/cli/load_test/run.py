"""Asking a daemon many times at once: whose turn it is, how many at a time, and when it is enough."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from attrs import frozen

from swapd.cli.client import Answer, Client, segment
from swapd.cli.errors import CliError
from swapd.cli.load_test.question import Outcome, Question, ask

PATTERNS: Final = ("round-robin", "random", "sequential")
_LOOK_EVERY_S: Final = 1.0
_LEAVE_S: Final = 5.0


@frozen
class Plan:
    """How a test asks: at most `requests` and `duration_s`, `concurrency` at a time, started no faster than
    `rate` a second (None: as fast as they are answered)."""

    models: tuple[str, ...]
    question: Question
    requests: int = 100
    duration_s: float = 300.0
    concurrency: int = 1
    rate: float | None = None
    pattern: str = "round-robin"

    def turns(self) -> Iterator[str]:
        """The model of each request. Sequential means all of the first model, then all of the next; the same
        test asks in the same random order each time."""
        chance = random.Random(1)
        for number in range(self.requests):
            if self.pattern == "random":
                yield chance.choice(self.models)
            elif self.pattern == "sequential":
                yield self.models[number * len(self.models) // self.requests]
            else:
                yield self.models[number % len(self.models)]


@frozen
class Run:
    """What a test has come to. `starts` are those of models, with how long each took to be ready in
    milliseconds; None if the key may not know them."""

    outcomes: tuple[Outcome, ...]
    lasted_s: float
    starts: tuple[tuple[str, int | None], ...] | None
    interrupted: bool = False


def warm_up(client: Client, plan: Plan, times: int) -> None:
    """Ask each model so often without measuring it."""
    for model in plan.models:
        for _ in range(times):
            ask(client, plan.question, model)


def carry_out(client: Client, plan: Plan, progress: Callable[[int], None] = lambda count: None) -> Run:
    """Run the test to its end, or to Ctrl-C, which ends the requests in flight and keeps the others.

    `progress` is told how many requests have ended, from several threads.
    """
    workers = _Workers(client, plan, progress)
    starts = _Starts(client, plan.models)
    begun = time.monotonic()
    interrupted = False
    workers.start()
    try:
        while workers.are_busy() and (left := begun + plan.duration_s - time.monotonic()) > 0:
            starts.look()
            workers.wait(min(_LOOK_EVERY_S, left))
    except KeyboardInterrupt:
        interrupted = True
    lasted = time.monotonic() - begun
    workers.stop()
    starts.look()
    return Run(tuple(workers.outcomes), lasted, starts.seen(), interrupted)


class _Workers:
    """Threads that take turns. The mutable state is behind one lock: the turns that are left, what has come
    of the others, and the answers that are being read."""

    def __init__(self, client: Client, plan: Plan, progress: Callable[[int], None]) -> None:
        self._client = client
        self._plan = plan
        self._progress = progress
        self._turns = enumerate(plan.turns())
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._open: set[Answer] = set()
        self._begun = time.monotonic()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(plan.concurrency)]
        self.outcomes: list[Outcome] = []

    def start(self) -> None:
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()

    def are_busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Until all have ended, at most so long."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def stop(self) -> None:
        """Begin nothing more, and end what is in flight, which then does not count."""
        with self._lock:
            self._over.set()
            for answer in self._open:
                answer.hang_up()
        self.wait(_LEAVE_S)

    def _work(self) -> None:
        while not self._over.is_set():
            with self._lock:
                number, model = next(self._turns, (-1, ""))
            if number < 0 or not self._is_time_for(number):
                return
            opened: list[Answer] = []

            def note(answer: Answer, opened: list[Answer] = opened) -> None:
                opened.append(answer)
                with self._lock:
                    self._open.add(answer)
                    if self._over.is_set():
                        answer.hang_up()

            outcome = ask(self._client, self._plan.question, model, note)
            with self._lock:
                self._open.difference_update(opened)
                if self._over.is_set():
                    return
                self.outcomes.append(outcome)
                count = len(self.outcomes)
            self._progress(count)

    def _is_time_for(self, number: int) -> bool:
        """Wait for the moment of a request, where there is a rate; False if the test ends first."""
        if self._plan.rate is None:
            return True
        return not self._over.wait(max(0.0, self._begun + number / self._plan.rate - time.monotonic()))


class _Starts:
    """The starts of models during a test: those that the daemon did not know of at its beginning.

    It remembers the last twenty of each model, so they are looked at every second.
    """

    def __init__(self, client: Client, models: Sequence[str]) -> None:
        self._client = client
        self._models = models
        self._known = True
        self._before: set[tuple[str, str]] = set()
        self._found: dict[tuple[str, str], int | None] = {}
        self._before = {key for key, _ in self._all()}

    def look(self) -> None:
        self._found.update((key, load) for key, load in self._all() if key not in self._before)

    def seen(self) -> tuple[tuple[str, int | None], ...] | None:
        return tuple((model, load) for (model, _), load in self._found.items()) if self._known else None

    def _all(self) -> list[tuple[tuple[str, str], int | None]]:
        if not self._known:
            return []
        try:
            return [
                ((model, start["started_at"]), _load_ms(start))
                for model in self._models
                for start in self._details(model).get("starts") or ()
            ]
        except CliError:
            self._known = False  # a key without the right to know, or a daemon that has gone
            return []

    def _details(self, model: str) -> dict[str, Any]:
        details: dict[str, Any] = self._client.get(f"/api/models/{segment(model)}")
        return details


def _load_ms(start: dict[str, Any]) -> int | None:
    from swapd.cli.output import moment

    ready, began = moment(start["ready_at"]), moment(start["started_at"])
    return None if ready is None or began is None else round((ready - began) * 1000)
