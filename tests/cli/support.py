"""How tests run a client command, and what its output is compared with."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import trio

from swapd.testing.daemon import Daemon

LIMIT_S = 100
WIDTH = 120


class Finished(NamedTuple):
    """What a command has come to. On a terminal everything it wrote is in `out`."""

    code: int
    out: str
    err: str


def environment(running: Daemon | None, **more: str) -> dict[str, str]:
    """Ours, with the daemon's address and without anything else that would steer the command."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SWAPD_")
        and name not in ("NO_COLOR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "COLUMNS", "LINES")
    }
    url = {} if running is None else {"SWAPD_URL": running.url}
    return {**kept, "TERM": "xterm-256color", "TZ": "UTC", **url, **more}


async def piped(running: Daemon | None, *argv: str, stdin: str = "", **environ: str) -> Finished:
    """Run `swapd ARGV` with its output going into pipes."""
    run = partial(
        subprocess.run,
        [sys.executable, "-m", "swapd", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(running, **environ),
        timeout=LIMIT_S,
        check=False,
    )
    done = await trio.to_thread.run_sync(run)
    return Finished(done.returncode, done.stdout, done.stderr)


async def on_terminal(running: Daemon | None, *argv: str, **environ: str) -> Finished:
    """Run `swapd ARGV` on a terminal of its own, `WIDTH` places wide."""
    return await trio.to_thread.run_sync(_on_terminal, argv, environment(running, **environ))


def _on_terminal(argv: tuple[str, ...], environ: Mapping[str, str]) -> Finished:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "swapd", *argv],
        stdin=its,
        stdout=its,
        stderr=its,
        env=environ,
        start_new_session=True,
    )
    os.close(its)
    seen = b""
    try:
        while chunk := _read(ours):
            seen += chunk
        return Finished(process.wait(LIMIT_S), seen.decode().replace("\r\n", "\n"), "")
    finally:
        os.close(ours)
        process.kill()
        process.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody has its other end open any more
        return b""


def uncoloured(text: str) -> str:
    """Without the escape sequences of colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def golden(text: str, **patterns: str) -> re.Pattern[str]:
    """A text to compare output with, in which `{name}` stands for what its pattern matches.

    Runs of blanks match runs of blanks: how wide a column is depends on numbers that differ.
    """
    escaped = re.sub(r"(?:\\ )+", " +", re.escape(text))
    for name, pattern in patterns.items():
        escaped = escaped.replace(rf"\{{{name}\}}", pattern)
    return re.compile(escaped)
