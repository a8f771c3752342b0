"""What a decision of the scheduler costs, as CPU time, in a process of its own: `python -m bench.decisions`.

There are 200 models. No question to a policy is asked twice, so that nothing comes out of a cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from math import inf
from random import Random

from bench.results import Results
from bench.scale import Scale
from bench.targets import Target
from swapd.nursery.events import ModelRules, Request, Settings, Ticket
from swapd.nursery.policy import Policy, View
from swapd.nursery.policy.group import Group, GroupPolicy
from swapd.nursery.policy.matrix import AllOf, AnyOf, Leaf, MatrixPolicy
from swapd.nursery.reports import Ready
from swapd.nursery.scheduler import Scheduler

MODELS = [f"model-{n:03}" for n in range(200)]
RUNNING = 8
QUEUED = 100
COUNT = 2_000


def measure(target: Target, scale: Scale, results: Results) -> None:
    """`decide/…` as `cpu_us`:

    - `groups`, `matrix`, `matrix, many sets`: who must stop for a model while eight others run. The matrix is
      one expression of four places with ten alternatives each, or 10,000 expressions of four models each.
    - `matrix, all run`: the same while all others run, as may be after a reload.
    - `request`: all that happens for a request that has to queue behind 100 others under the matrix.
    - `direct`: a request for a ready model, granted and released.
    """
    for _ in range(scale.rounds):
        output = subprocess.run(
            [sys.executable, "-m", "bench.decisions"], check=True, capture_output=True, text=True
        ).stdout
        for name, value in json.loads(output).items():
            results.add(f"decide/{name}", "cpu_us", target, value)


def _measure_here() -> dict[str, float]:
    groups = GroupPolicy(Group(f"group {n}", frozenset(MODELS[n::20]), exclusive=False) for n in range(20))
    return {
        "groups": _evictions_us(groups, RUNNING),
        "matrix": _evictions_us(four_places(), RUNNING),
        "matrix, many sets": _evictions_us(many_sets(), RUNNING),
        "matrix, all run": _evictions_us(four_places(), len(MODELS) - 1),
        "request": _requests_us(four_places()),
        "direct": _direct_us(groups),
    }


def four_places() -> MatrixPolicy:
    places = (AnyOf(tuple(map(Leaf, MODELS[n::4]))) for n in range(4))
    return MatrixPolicy([("all", AllOf(tuple(places)))])


def many_sets() -> MatrixPolicy:
    random = Random(1)
    sets = (AllOf(tuple(map(Leaf, random.sample(MODELS, 4)))) for _ in range(10_000))
    return MatrixPolicy([(f"set {n}", expression) for n, expression in enumerate(sets)])


def _evictions_us(policy: Policy, running: int) -> float:
    random = Random(2)
    questions = []
    while len(questions) < COUNT:
        target, *others = random.sample(MODELS, running + 1)
        questions.append((target, View(tuple(sorted(others)))))
    if running == len(MODELS) - 1:
        questions = list(dict(questions).items())  # there are only as many as there are models
    return _cpu_us(lambda: [policy.evict(target, view) for target, view in questions]) / len(questions)


def _requests_us(policy: Policy) -> float:
    """One model serves without an end; everybody else waits for models that exclude it."""
    core = Scheduler(dict.fromkeys(MODELS, ModelRules(concurrency_limit=COUNT)), Settings(policy))
    same_place = MODELS[4::4]
    core.handle(Request(Ticket(MODELS[0])), 0)
    core.handle(Ready(MODELS[0], 1), 1)
    for n in range(QUEUED):
        core.handle(Request(Ticket(same_place[n % len(same_place)])), 2)
    tickets = [Ticket(same_place[n % len(same_place)]) for n in range(QUEUED)]
    return _cpu_us(lambda: [core.handle(Request(ticket), 3) for ticket in tickets]) / len(tickets)


def _direct_us(policy: Policy) -> float:
    core = Scheduler(dict.fromkeys(MODELS, ModelRules()), Settings(policy))
    core.handle(Request(Ticket(MODELS[0])), 0)
    core.handle(Ready(MODELS[0], 1), 1)
    assert core.next_deadline() == inf

    def ask_and_release() -> None:
        for _ in range(COUNT):
            ticket = Ticket(MODELS[0])
            assert core.try_grant(ticket, 2)
            assert core.try_release(ticket, 2)

    return _cpu_us(ask_and_release) / COUNT


def _cpu_us(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return 1e6 * (time.process_time() - start)


if __name__ == "__main__":
    print(json.dumps(_measure_here()))
