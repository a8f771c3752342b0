"""What the signals of the operating system ask of the daemon.

`watch_signals` turns them into `SignalEvent`s for the daemon to act on. The one rule with a memory is that of
the stop signals: the first asks for an orderly stop, the second forces it, the third ends the process at
once. A signal within half a second of the one that counted before is taken for the same wish, so that a
doubled Ctrl-C does not cut anybody's request.
"""

from __future__ import annotations

import enum
import operator
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Final

import trio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SAME_WISH_S: Final = 0.5
"""Stop signals closer together than this count as one."""


class SignalKind(enum.Enum):
    """What a signal asks for."""

    STOP = "stop"
    """Stop in order: let requests finish, then stop the models; exit 0."""
    FORCE_STOP = "force stop"
    """Cancel all requests, kill every model; exit 1 within a second."""
    KILL = "kill"
    """Kill every model and exit 1 now."""
    RELOAD = "reload"
    DUMP_STATE = "dump state"
    TOGGLE_DEBUG = "toggle debug"


@frozen
class SignalEvent:
    """A wish, and the signal that carried it."""

    kind: SignalKind
    signal: signal.Signals


class StopSignals:
    """Counts the stop signals: the first, the second and the third mean different things.

    The mutable state is how many counted so far and when the last one did; `count` changes it.
    """

    _STEPS: Final = (SignalKind.STOP, SignalKind.FORCE_STOP, SignalKind.KILL)

    def __init__(self) -> None:
        self._counted = 0
        self._last_counted = float("-inf")

    def count(self, now: float) -> SignalKind | None:
        """What a stop signal at `now` (seconds, monotonic) means; None if it belongs to the one before."""
        if now - self._last_counted < SAME_WISH_S:
            return None
        self._last_counted = now
        kind = self._STEPS[min(self._counted, len(self._STEPS) - 1)]
        self._counted += 1
        return kind


class ControllingTerminal:
    """Tells a SIGHUP that asks for a reload from one that says the terminal was closed.

    Look at it once at start, before any handler is installed: a daemon started with `nohup` (SIGHUP ignored)
    or without a terminal never loses one.
    """

    def __init__(self) -> None:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._may_be_lost = not ignored and _terminal_is_there()

    def is_gone(self) -> bool:
        return self._may_be_lost and not _terminal_is_there()


def _terminal_is_there() -> bool:
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True


async def watch_signals(
    report: Callable[[SignalEvent], None],
    *,
    terminal: ControllingTerminal | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Report what the signals ask for until cancelled; `started` once none can be missed any more.

    `report` is called in the event loop and must not block. Cancelling restores the handlers there were
    before, at once. A `terminal` given by the caller was looked at earlier than now.
    """
    terminal = terminal or ControllingTerminal()
    stops = StopSignals()
    with _receive(*_MEANINGS, *_STOP_SIGNALS) as arrivals:
        task_status.started()
        while True:
            for arrived in await arrivals():
                if arrived in _STOP_SIGNALS or (arrived is signal.SIGHUP and terminal.is_gone()):
                    kind = stops.count(trio.current_time())
                else:
                    kind = _MEANINGS[arrived]
                if kind is not None:
                    report(SignalEvent(kind, arrived))


@contextmanager
def _receive(*numbers: signal.Signals) -> Iterator[Callable[[], Awaitable[list[signal.Signals]]]]:
    """Waits for these signals and gives those that have come, in order; the same one in a row counts once.

    Unlike `trio.open_signal_receiver` it stands any number of signals at once, as a shell loop around
    `kill` sends them: a handler written in Python is itself interrupted by the next signal, and that by the
    next, to the end of the stack. So the interpreter's own handler leaves the number in a socket
    (`signal.set_wakeup_fd`; trio wakes up by it as well), and what it calls then is not Python.
    """
    receiving, sending = socket.socketpair()
    with receiving, sending:
        receiving.setblocking(False)
        sending.setblocking(False)

        async def arrived() -> list[signal.Signals]:
            await trio.lowlevel.wait_readable(receiving)
            return [
                signal.Signals(number) for number, _ in groupby(receiving.recv(4096)) if number in numbers
            ]

        wakeup_before = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
        handlers_before = {number: signal.signal(number, _no_python) for number in numbers}
        try:
            yield arrived
        finally:
            for number, handler in handlers_before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup_before, warn_on_full_buffer=False)


_no_python: Final = operator.is_
"""A function of two arguments, as a handler has, that does nothing and in which no signal is looked for."""


@contextmanager
def late_stops_ignored() -> Iterator[None]:
    """Around the start of `watch_signals`: what that restores when it is cancelled is then to ignore stops.

    A stop signal that comes while the interpreter winds up, after the daemon has ended, would otherwise make
    an orderly end look like a death by signal. A handler of ours would not do, as Python takes those away
    in the end. Those that come between are held back for `watch_signals`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_MEANINGS: Final = {
    signal.SIGHUP: SignalKind.RELOAD,
    signal.SIGUSR1: SignalKind.DUMP_STATE,
    signal.SIGUSR2: SignalKind.TOGGLE_DEBUG,
}
