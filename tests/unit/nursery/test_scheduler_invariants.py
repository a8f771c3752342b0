"""Random histories: whatever happens in whatever order, the promises of the core hold.

The real `Scheduler` is driven with every event it knows, over random group and matrix policies. After each
step `World` checks what can be checked then:

    no.  promise                                                          checked in
     1   one live process a model, generations go up                      _check_spawn, _check_records
     2   only moves of the table, events form a path                      _change_state, _check_records
     3   granted only while ready, and on an instance that is to stay     _check_grant
     4   reservations are exact and within the limit at admission         _check_places, _judge
     5   each ticket in one place, answered once                          _check_places, _note_resolved
     6   each lease released once; nothing is left at the end             core asserts; end
     7   nobody is stopped while serving, but for the reasons that may    _check_may_be_cut
     8   what the policy forbids together is not up together              _check_safety
     9   active swaps do not collide, no target in its own evictions      _check_swaps
    10   spawned only for a live swap whose evicted are gone              _check_spawn
    11   a queue always waits for something; everybody gets an answer     _check_queue, let_everything_happen
    12   nothing in the queue could move on: a tick changes nothing       _check_queue
    13   a model's tickets by arrival; claims, priority, arrival          _check_grant, _check_order
    14   no lease in the shadow of a claim; no claim is late              _check_grant, _check_order
         (its bound in seconds: tests/scenarios/test_fairness.py)
    15   published positions are the real ones                            _check_queue
    16   reports of old instances change nothing                          stale
    17   idle time stops nobody early; nobody's timer is missing          _check_stop, _check_records
    18   an open breaker starts nothing, opens in time; own stops free    _check_spawn, _apply, _judge
    19   an unload leaves no waiter, returns when all have stopped        _judge, _apply (CallDone)
    20   after the end nothing lives, waits or ticks                      check, _check_spawn, end
    21   a reload keeps what did not change                               _judge, _check_spawn
    22   (memory policy: not built yet)
    23   the same events give the same effects                            the test on hash seeds, below
    24   no waiting and no I/O: the import contracts in pyproject.toml; how long a decision takes is measured
         by `python -m bench --parts scheduling`, and the manager warns of slow ones
    25   a direct call does what the event would have, or nothing         _granted_directly,
                                                                          _released_directly

How many histories: `SWAPD_HISTORIES`, 160 unless set; `make test` sets 2000. For hours of them, with other
seeds: `python -m tests.unit.nursery.histories --minutes 60`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from random import Random

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from tests.unit.nursery.histories import STEP_BITS, STEPS, play, random_steps

HISTORIES = int(os.environ.get("SWAPD_HISTORIES", "160"))
PARTS = 4
"""So that several processes can share the work."""

steps_of_a_history = st.lists(st.integers(0, 2**STEP_BITS - 1), min_size=STEPS, max_size=STEPS)


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_no_promise_is_broken(part: int) -> None:
    @hypothesis.seed(part)
    @hypothesis.settings(
        max_examples=-(-HISTORIES // PARTS),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @hypothesis.given(st.integers(0, 2**32 - 1), steps_of_a_history)
    def histories(seed: int, steps: list[int]) -> None:
        play(seed, steps)

    histories()


def digest_of_histories() -> str:
    """What the core decided in some histories, in short."""
    digest = hashlib.sha256()
    for seed in range(20):
        history = play(seed, random_steps(Random(seed), STEPS))
        digest.update(repr(history.world.log).encode())
    return digest.hexdigest()


def test_the_same_events_give_the_same_effects_whatever_the_hash_seed() -> None:
    """Sets of strings come in another order in every Python process; no decision may depend on that."""
    code = f"from {__name__} import digest_of_histories; print(digest_of_histories())"
    digests = set()
    for hash_seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.add(done.stdout)

    assert len(digests) == 1
