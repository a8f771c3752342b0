from __future__ import annotations

import re
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from swapd.nursery.prober import ProbeKind
from swapd.nursery.readiness import OutputHints, ProbePace

REFUSED, HUNG, BAD_STATUS = ProbeKind.REFUSED, ProbeKind.HUNG, ProbeKind.BAD_STATUS


def delays(pace: ProbePace, failure: ProbeKind, count: int, elapsed_s: float) -> list[float]:
    return [pace.next_delay(failure, elapsed_s) for _ in range(count)]


@pytest.mark.parametrize("failure", [REFUSED, HUNG, BAD_STATUS])
def test_given_loopback_then_the_pace_is_25_ms_for_ten_seconds(failure: ProbeKind) -> None:
    assert set(delays(ProbePace(loopback=True), failure, 50, elapsed_s=9.9)) == {0.025}


@pytest.mark.parametrize(("failure", "delay"), [(REFUSED, 0.01), (HUNG, 0.025), (BAD_STATUS, 0.025)])
def test_given_loopback_and_nobody_listens_then_the_pace_is_10_ms_for_three_seconds(
    failure: ProbeKind, delay: float
) -> None:
    assert set(delays(ProbePace(loopback=True), failure, 50, elapsed_s=2.9)) == {delay}


@pytest.mark.parametrize(("failure", "longest"), [(REFUSED, 0.1), (HUNG, 0.25), (BAD_STATUS, 0.25)])
def test_given_loopback_after_ten_seconds_then_the_delay_grows_to_its_limit(
    failure: ProbeKind, longest: float
) -> None:
    pace = ProbePace(loopback=True)
    pace.next_delay(failure, 9.9)

    grown = delays(pace, failure, 20, elapsed_s=10)

    assert grown[0] == pytest.approx(0.0325)
    assert all(later == pytest.approx(min(earlier * 1.3, longest)) for earlier, later in pairwise(grown))
    assert grown[-1] == longest


def test_given_another_kind_of_failure_then_the_delay_starts_anew() -> None:
    pace = ProbePace(loopback=True)
    delays(pace, REFUSED, 20, elapsed_s=20)

    assert pace.next_delay(BAD_STATUS, 21) == 0.025
    assert pace.next_delay(BAD_STATUS, 21) == pytest.approx(0.0325)


def test_given_another_host_then_the_delay_grows_from_250_ms_to_a_second() -> None:
    grown = delays(ProbePace(loopback=False), REFUSED, 10, elapsed_s=0)

    assert grown[:2] == [0.25, 0.325]
    assert grown[-1] == 1.0


async def returns_at(
    hints: OutputHints, *chunks: bytes, until: float = 1.0, not_before: float = 0.0
) -> float:
    """Seconds that `wait` takes after these chunks were written."""
    started = trio.current_time()
    for chunk in chunks:
        hints.feed(chunk, False)
    await hints.wait(started + until, not_before=started + not_before)
    return trio.current_time() - started


@pytest.mark.parametrize(
    ("chunks", "is_hint"),
    [
        ([b"loaded\n"], True),
        ([b"\n"], True),
        ([b"load", b"ed\n"], True),
        ([b"50 %"], False),
        ([b""], False),
        ([b'"GET /health HTTP/1.1" 503\n'], False),
        ([b'"GET /hea', b'lth HTTP/1.1" 503\n'], False),
        ([b'"GET /health HTTP/1.1" 503\nloaded\n'], True),
    ],
)
async def test_complete_lines_are_hints_unless_they_echo_the_probe(
    clock: MockClock, chunks: list[bytes], is_hint: bool
) -> None:
    assert await returns_at(OutputHints("/health", None), *chunks) == (0 if is_hint else 1)


@pytest.mark.parametrize(
    ("line", "is_hint"), [(b"GET / 503\n", False), (b"loading /models/owl.gguf\n", True)]
)
async def test_given_the_path_is_a_slash_then_only_a_request_for_it_is_an_echo(
    clock: MockClock, line: bytes, is_hint: bool
) -> None:
    assert await returns_at(OutputHints("/", None), line) == (0 if is_hint else 1)


@pytest.mark.parametrize("chunks", [[b"is re", b"ady now"], [b"ready, see GET /health\n"]])
async def test_given_a_ready_hint_then_any_match_counts(clock: MockClock, chunks: list[bytes]) -> None:
    assert await returns_at(OutputHints("/health", re.compile("ready")), *chunks) == 0


async def test_given_a_hint_too_soon_then_the_next_probe_waits_for_its_time(clock: MockClock) -> None:
    assert await returns_at(OutputHints("/health", None), b"loaded\n", not_before=0.02) == pytest.approx(0.02)


async def test_given_a_hint_during_a_probe_then_it_is_not_forgotten_and_counts_once(clock: MockClock) -> None:
    hints = OutputHints("/health", None)
    hints.feed(b"loaded\n", True)

    assert await returns_at(hints) == 0
    assert await returns_at(hints) == 1
