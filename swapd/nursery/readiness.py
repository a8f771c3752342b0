"""When to look again whether a starting upstream is ready.

Two things say so. A **pace** of attempts: on this machine one every 25 ms for the first ten seconds, so
that whoever waits for a small model does not wait for us, and then slower, because 100 ms more after
half a minute of loading is nothing, and servers log what they are asked. While nobody listens there is
nobody to log it, and an attempt costs a fifth of a millisecond: then one every 10 ms at first. And the
**output** of the process: servers write a line when they have finished loading, so any line is a reason to
try at once.
"""

from __future__ import annotations

import re

import trio

from swapd.nursery.prober import ProbeKind

FIRST_DELAY_S = 0.025
"""Also the shortest time from the start of one attempt to the start of the next that output may cause."""

_QUICK_S = 0.01
_QUICK_FOR_S = 3.0
"""After three seconds, 15 ms more of waiting are half a percent, and worth no hundred attempts a second."""
_GROWTH = 1.3
_EAGER_S = 10.0
_MAX_REFUSED_S = 0.1
_MAX_S = 0.25
_REMOTE_FIRST_S = 0.25
_REMOTE_MAX_S = 1.0
_LINE_LIMIT = 4096


class ProbePace:
    """The time from a failed attempt to the next.

    On loopback 25 ms for ten seconds, then growing by 1.3 a time to 250 ms. While the connection is
    refused, which costs next to nothing, 10 ms for the first three seconds, and 100 ms in the end.
    Elsewhere from 250 ms to 1 s. The growth starts anew when attempts fail in another way than before:
    something has happened, more may follow.
    """

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self._first = FIRST_DELAY_S if loopback else _REMOTE_FIRST_S
        self._delay = self._first
        self._last: ProbeKind | None = None

    def next_delay(self, failure: ProbeKind, elapsed_s: float) -> float:
        """Seconds to wait after `failure`, `elapsed_s` after the first attempt."""
        if self._loopback and failure is ProbeKind.REFUSED and elapsed_s < _QUICK_FOR_S:
            self._delay = _QUICK_S
        elif failure is not self._last or (self._loopback and elapsed_s < _EAGER_S):
            self._delay = self._first
        else:
            self._delay = min(self._delay * _GROWTH, self._longest(failure))
        self._last = failure
        return self._delay

    def _longest(self, failure: ProbeKind) -> float:
        if not self._loopback:
            return _REMOTE_MAX_S
        return _MAX_REFUSED_S if failure is ProbeKind.REFUSED else _MAX_S


class OutputHints:
    """Makes reasons to probe out of what a starting process writes.

    `feed` is called for every chunk of output, from inside the event loop. A complete line is a hint,
    unless it names the path that we probe: many servers log each request, and the echo of our own probe
    must not cause the next one. Where `ready_hint` matches, that is a hint in any case, also in a line
    that has not ended yet.
    """

    def __init__(self, probed_path: str, ready_hint: re.Pattern[str] | None) -> None:
        # "/" alone is in every path; with the method before it it is our request, or looks just like it.
        self._echo = (probed_path if len(probed_path) > 1 else f"GET {probed_path} ").encode()
        self._ready_hint = ready_hint
        self._unfinished = {False: b"", True: b""}
        self._hint = trio.Event()

    def feed(self, chunk: bytes, is_stderr: bool) -> None:
        if self._hint.is_set():
            self._unfinished[is_stderr] = b""
            return
        *lines, unfinished = (self._unfinished[is_stderr] + chunk).split(b"\n")
        self._unfinished[is_stderr] = unfinished[-_LINE_LIMIT:]
        if any(self._echo not in line for line in lines) or self._matches(*lines, unfinished):
            self._hint.set()

    async def wait(self, until: float, *, not_before: float) -> None:
        """Wait until a hint has come since the last call, but at least until `not_before` and at most
        until `until` (seconds of trio's clock)."""
        with trio.move_on_at(until):
            await self._hint.wait()
            await trio.sleep_until(not_before)
        self._hint = trio.Event()

    def _matches(self, *lines: bytes) -> bool:
        if self._ready_hint is None:
            return False
        return any(self._ready_hint.search(line[-_LINE_LIMIT:].decode("utf-8", "replace")) for line in lines)
