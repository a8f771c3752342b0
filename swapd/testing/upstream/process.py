"""The fake upstream as a process: start-up, log output, forks, crashes and SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from itertools import count
from typing import Never

from swapd.testing.upstream.loop import Loop
from swapd.testing.upstream.settings import Settings, parse_arguments
from swapd.testing.upstream.state import UpstreamState

_FLOOD_LINE = b"flood " + b"#" * 121 + b"\n"


def main(argv: Sequence[str] | None = None) -> Never:
    """Run a fake upstream until it is killed or crashes as told."""
    settings = parse_arguments(argv)
    if settings.daemonise and os.fork():
        os._exit(0)
    if settings.daemonise:
        os.setsid()
    UpstreamProcess(settings).run()


class UpstreamProcess:
    """One fake upstream with everything that happens outside its conversations."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = UpstreamState(settings)
        self._loop = Loop(self._state, self._crash)
        self._listener: socket.socket | None = None
        self._wakeup_sender: socket.socket | None = None
        self._ballast = b""

    def run(self) -> Never:
        settings = self._settings
        self._handle_signals()
        self._print_start()
        if settings.crash_after_s == 0:
            self._crash()
        if not settings.never_listen:
            self._listener = _bound(settings)
        if settings.fork != "none":
            self._fork_grandchild()
        if self._listener is not None and settings.load_mode != "refuse":
            self._listen(self._listener)
        # Touched, not only reserved: the point is to be seen in the resident set.
        self._ballast = b"x" * settings.allocate_bytes
        self._set_alarms()
        self._loop.run()

    def _set_alarms(self) -> None:
        settings = self._settings
        if settings.crash_after_s > 0:
            self._loop.call_after(settings.crash_after_s, self._crash)
        if settings.log_interval_s > 0:
            numbers = count(1)
            self._loop.call_after(settings.log_interval_s, lambda: self._print_numbered(numbers))
        self._loop.call_after(settings.load_s, self._loaded)

    def _loaded(self) -> None:
        if self._listener is not None and self._settings.load_mode == "refuse":
            self._listen(self._listener)
        say("\x1b[32mmain: model loaded\x1b[0m")
        self._state.become_ready()
        self._flood()

    def _listen(self, listener: socket.socket) -> None:
        self._loop.listen(listener)
        say(f"listening on http://{self._settings.host}:{listener.getsockname()[1]}")

    def _print_start(self) -> None:
        say(f"\x1b[1mfake upstream\x1b[0m pid {os.getpid()}, loading")
        for line in self._settings.log_line:
            say(line)
        for line in self._settings.stderr_line:
            sys.stderr.write(line + "\n")

    def _print_numbered(self, numbers: count[int]) -> None:
        say(f"line {next(numbers)}")
        self._loop.call_after(self._settings.log_interval_s, lambda: self._print_numbered(numbers))

    def _flood(self) -> None:
        """Print until it is all out; blocks the whole server if nobody reads, as it does a real one."""
        for _ in range(0, self._settings.flood_bytes, len(_FLOOD_LINE)):
            sys.stdout.buffer.write(_FLOOD_LINE)
        sys.stdout.buffer.flush()

    def _handle_signals(self) -> None:
        """Without knobs both signals have their default effect: the process ends at once, unhandled."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._settings.ignore_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif self._settings.term_delay_s > 0:
            # The selector must return for the alarm to be seen: hence a byte through a socket pair.
            receiving, sending = socket.socketpair()
            for end in (receiving, sending):
                end.setblocking(False)
            signal.set_wakeup_fd(sending.fileno())
            signal.signal(signal.SIGTERM, lambda *_: None)
            self._loop.watch(receiving.fileno(), lambda: self._begin_to_end(receiving))
            self._wakeup_sender = sending

    def _begin_to_end(self, signals: socket.socket) -> None:
        signals.recv(64)
        say(f"terminating in {self._settings.term_delay_s:g} s")
        self._loop.call_after(self._settings.term_delay_s, lambda: os._exit(0))

    def _fork_grandchild(self) -> None:
        if pid := os.fork():
            say(f"grandchild {pid}")
            return
        settings = self._settings
        if settings.fork == "setpgrp":
            os.setpgid(0, 0)
        elif settings.fork == "setsid":
            os.setsid()
        wanted = signal.SIG_IGN if settings.fork_ignore_sigterm else signal.SIG_DFL
        signal.signal(signal.SIGTERM, wanted)
        if not settings.fork_hold_stdout:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(nowhere, fd)
        if self._listener is not None and not settings.fork_hold_port:
            self._listener.close()
        while True:
            signal.pause()

    def _crash(self) -> Never:
        if self._settings.exit_signal:
            if self._settings.exit_signal not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(self._settings.exit_signal, signal.SIG_DFL)
            os.kill(os.getpid(), self._settings.exit_signal)
        os._exit(self._settings.exit_code)


def say(line: str) -> None:
    """Print a log line; a reader that has gone is no reason to fail."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return


def _bound(settings: Settings) -> socket.socket:
    """A socket bound to the port but not listening yet: connections are refused, the port is ours."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        sys.exit(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}")
    return listener
