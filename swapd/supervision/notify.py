"""Telling the service manager how we are: systemd's notification protocol, sd_notify(3).

One datagram of `NAME=value` lines to the unix socket that NOTIFY_SOCKET names, as a path or, with `@` in
front, in the abstract namespace. Without that variable nothing is ever sent. The daemon does not depend on
being heard: a message that the socket cannot take now is kept and sent a little later, in order, and one that
it refuses is dropped.

    start      READY=1 + STATUS=…
    reload     RELOADING=1 + MONOTONIC_USEC=…   then always READY=1 + STATUS=…, whatever came of it
    running    STATUS=… when it changes, WATCHDOG=1 (`swapd.supervision.watchdog`)
    stop       STOPPING=1 + STATUS=…, EXTEND_TIMEOUT_USEC=… every 5 s while draining

MONOTONIC_USEC says when the reload began, on CLOCK_MONOTONIC. Without it `systemctl reload` of a unit with
`Type=notify-reload` waits in vain or returns too early.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import trio

EXTEND_EVERY_S: Final = 5.0
EXTEND_BY_S: Final = 15.0
_TRY_AGAIN_S: Final = 0.05
_MOST_PENDING: Final = 64


class Notifier:
    """The service manager's ear. None of its methods blocks or raises.

    Give it the environment, run `run` in the root nursery, and say what happens. The mutable state is the
    messages that could not be sent yet, and the status said last.
    """

    def __init__(self, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._warn = warn
        self._socket: socket.socket | None = None
        self._pending: deque[bytes] = deque(maxlen=_MOST_PENDING)
        self._has_pending = trio.Event()
        self._last_status = ""
        self._failed = False
        if self._address is not None:
            try:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            except OSError as error:
                self._complain(error)

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    # -- what can be said --------------------------------------------------------------------------

    def ready(self, status: str) -> None:
        """We are up and serve requests."""
        self._send("READY=1", self._status_line(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`. Saying the same again sends nothing."""
        if _one_line(text) != self._last_status:
            self._send(self._status_line(text))

    @contextmanager
    def reloading(self, status: Callable[[], str]) -> Iterator[None]:
        """The configuration is reloaded during this block, which may fail. `status` says what came of it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}")
        try:
            yield
        finally:
            self.ready(status())

    def stopping(self, status: str) -> None:
        """An orderly stop has begun."""
        self._send("STOPPING=1", self._status_line(status))

    def extend_timeout(self, by_s: float = EXTEND_BY_S) -> None:
        """Starting or stopping goes on: no patience shall end before so many seconds from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(by_s * 1e6)}")

    def watchdog(self) -> None:
        """We live."""
        self._send("WATCHDOG=1")

    # -- tasks -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what could not be sent at once, until cancelled. Sleeps while there is nothing."""
        while True:
            await self._has_pending.wait()
            await trio.sleep(_TRY_AGAIN_S)
            self._flush()

    async def keep_extending(self) -> None:
        """Extend the patience every five seconds, until cancelled."""
        while True:
            self.extend_timeout()
            await trio.sleep(EXTEND_EVERY_S)

    def close(self) -> None:
        """Try once more to send what is pending, and let go of the socket."""
        if self._socket is not None:
            self._flush()
            self._socket.close()
            self._socket = None

    # -- the socket --------------------------------------------------------------------------------

    def _status_line(self, text: str) -> str:
        self._last_status = _one_line(text)
        return f"STATUS={self._last_status}"

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        self._pending.append("\n".join(lines).encode(errors="replace"))
        self._flush()

    def _flush(self) -> None:
        """Send in order, as much as the socket takes."""
        if self._socket is None or self._address is None:
            return
        while self._pending:
            try:
                self._socket.sendto(self._pending[0], self._address)
            except (BlockingIOError, InterruptedError):
                self._has_pending.set()
                return
            except OSError as error:
                self._complain(error)
            self._pending.popleft()
        if self._has_pending.is_set():
            self._has_pending = trio.Event()

    def _complain(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._warn(f"the service manager's socket cannot be reached: {error.strerror or error}")


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """How often the service manager wants to hear WATCHDOG=1 from this process; None if it does not.

    As in sd_watchdog_enabled(3): WATCHDOG_PID, where it is set, must be our pid.
    """
    microseconds = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6


def _address(value: str) -> str | None:
    """The address in the form that the socket module wants; None if there is none that we understand."""
    if value.startswith("@") and len(value) > 1:
        return "\0" + value[1:]
    return value if value.startswith("/") else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
