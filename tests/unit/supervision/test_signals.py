"""What the signals mean, on a virtual clock and with real signals to this very process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import trio
import trio.testing

from swapd.supervision.signals import (
    ControllingTerminal,
    SignalEvent,
    SignalKind,
    StopSignals,
    watch_signals,
)


class FakeTerminal(ControllingTerminal):
    """A terminal that a test can close."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone

    def is_gone(self) -> bool:
        return self.gone


# --- the rule of the stop signals ---------------------------------------------------------------------


def test_given_three_stop_signals_when_far_enough_apart_then_each_is_one_step_further() -> None:
    stops = StopSignals()

    assert stops.count(100.0) is SignalKind.STOP
    assert stops.count(100.5) is SignalKind.FORCE_STOP
    assert stops.count(101.0) is SignalKind.KILL
    assert stops.count(200.0) is SignalKind.KILL


def test_given_a_doubled_ctrl_c_when_counted_then_it_is_one_wish() -> None:
    stops = StopSignals()

    assert stops.count(0.0) is SignalKind.STOP
    assert stops.count(0.1) is None
    assert stops.count(0.49) is None
    assert stops.count(0.51) is SignalKind.FORCE_STOP
    assert stops.count(0.6) is None


# --- the task -----------------------------------------------------------------------------------------


async def events_of(*signals: tuple[float, signal.Signals], terminal: FakeTerminal) -> list[SignalEvent]:
    """What `watch_signals` reports when these signals reach the process after these pauses."""
    events: list[SignalEvent] = []
    async with trio.open_nursery() as nursery:

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            await watch_signals(events.append, terminal=terminal, task_status=task_status)

        await nursery.start(watch)
        for pause, number in signals:
            await trio.sleep(pause)
            signal.raise_signal(number)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return events


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (signal.SIGTERM, SignalKind.STOP),
        (signal.SIGINT, SignalKind.STOP),
        (signal.SIGHUP, SignalKind.RELOAD),
        (signal.SIGUSR1, SignalKind.DUMP_STATE),
        (signal.SIGUSR2, SignalKind.TOGGLE_DEBUG),
    ],
)
async def test_given_each_signal_when_it_arrives_then_it_is_reported_by_what_it_asks_for(
    number: signal.Signals, kind: SignalKind, autojump_clock: trio.testing.MockClock
) -> None:
    assert await events_of((0, number), terminal=FakeTerminal()) == [SignalEvent(kind, number)]


async def test_given_a_term_and_two_ctrl_c_when_they_arrive_then_they_count_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events = await events_of(
        (0, signal.SIGTERM),
        (0.2, signal.SIGINT),  # the same wish
        (2, signal.SIGINT),
        (2, signal.SIGTERM),
        terminal=FakeTerminal(),
    )

    assert events == [
        SignalEvent(SignalKind.STOP, signal.SIGTERM),
        SignalEvent(SignalKind.FORCE_STOP, signal.SIGINT),
        SignalEvent(SignalKind.KILL, signal.SIGTERM),
    ]


async def test_given_a_terminal_that_was_closed_when_hup_arrives_then_it_counts_as_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events = await events_of((0, signal.SIGHUP), (1, signal.SIGTERM), terminal=FakeTerminal(gone=True))

    assert [event.kind for event in events] == [SignalKind.STOP, SignalKind.FORCE_STOP]


async def test_given_reloads_between_stops_when_they_arrive_then_they_do_not_count(
    autojump_clock: trio.testing.MockClock,
) -> None:
    events = await events_of(
        (0, signal.SIGTERM), (1, signal.SIGHUP), (1, signal.SIGTERM), terminal=FakeTerminal()
    )

    assert [event.kind for event in events] == [
        SignalKind.STOP,
        SignalKind.RELOAD,
        SignalKind.FORCE_STOP,
    ]


async def test_given_the_watcher_when_it_is_cancelled_then_the_handlers_are_as_before() -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]

    await events_of(terminal=FakeTerminal())

    assert [signal.getsignal(number) for number in numbers] == before


def test_given_a_hup_that_is_ignored_at_start_when_the_terminal_goes_then_it_is_no_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = True
    monkeypatch.setattr("swapd.supervision.signals._terminal_is_there", lambda: there)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with_nohup = ControllingTerminal()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        without = ControllingTerminal()
    finally:
        signal.signal(signal.SIGHUP, before)

    assert not without.is_gone()
    there = False
    assert without.is_gone()
    assert not with_nohup.is_gone()


def test_given_no_terminal_at_start_when_looked_at_later_then_none_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("swapd.supervision.signals._terminal_is_there", lambda: False)

    assert not ControllingTerminal().is_gone()


# --- before the event loop ----------------------------------------------------------------------------


def run_prepared(code: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import os, signal\n"
        f"from swapd.supervision.process_setup import prepare_process\nprepare_process()\n{code}"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGABRT])
def test_given_a_prepared_process_when_it_is_aborted_then_its_stacks_are_on_standard_error(
    number: signal.Signals,
) -> None:
    no_core = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    done = run_prepared(f"{no_core}\nos.kill(os.getpid(), {int(number)})")

    assert done.returncode == -number
    assert "most recent call first" in done.stderr


@pytest.mark.real
def test_given_a_prepared_process_when_it_writes_to_a_closed_pipe_then_it_gets_an_error_and_lives() -> None:
    done = run_prepared(
        "r, w = os.pipe(); os.close(r)\n"
        "try:\n    os.write(w, b'x')\nexcept BrokenPipeError:\n    print('alive')"
    )

    assert (done.returncode, done.stdout) == (0, "alive\n")
