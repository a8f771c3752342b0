"""The guardian: a tiny process that cleans up when the daemon dies without having done so.

A daemon that is killed with SIGKILL can do nothing any more. The kernel ends the leaders of its process
trees (they asked for that), and a service manager may end what is in the daemon's cgroup. But children of
the leaders, and whatever runs under tmux, s6, runit or a container's shell, would stay, with the memory of
the GPU. So the daemon's first act is to start a guardian, which does nothing but wait on a pipe:

    daemon says «clean exit»    → the guardian ends
    the pipe ends without it    → SIGKILL to every process that carries the daemon's marker in its
                                  environment, until two looks in a row find none; then the guardian ends

The pipe's end is the one thing that cannot be missed: the kernel closes it however the daemon ends. It even
waits for a child that the daemon was just starting: until its exec that child holds the pipe as well, and
from then on it carries the marker.

**It is out of harm's way.** It leads a session of its own, works in `/`, has no descriptor of the daemon's
but the pipe, and starts with all signals blocked, which holds across exec: so there is no instant at which
SIGTERM to a whole cgroup or SIGHUP from a terminal ends it. If something does, another is started.

**What it costs.** While it waits it is a shell in `read`: 1.7 MB resident, 0.35 MB of that its own, 1 ms of
CPU to start, no wake-up. A Python that waits instead needs 9 MB and 11 ms. Only when the pipe ends the shell
turns into Python (30 ms), because it takes a pidfd to be sure that a number has not passed to a stranger
between the look and the signal, and no shell has those. The shell opens the program at the start, so an
upgrade that removes the file does not matter. Where there is no `/bin/sh`, the program waits itself.

The whole of it, layer by layer, is described in docs/design/processes.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from swapd.supervision import marked_processes
from swapd.supervision.helper_environment import without_supervision
from swapd.supervision.marked_processes import CLEAN_EXIT

_SHELL: Final = "/bin/sh"
_WAIT: Final = 'exec 3<"$2"; read -r word; [ "$word" = "{word}" ] || exec "$1" -I -S -E /dev/fd/3 "$3"'
_DISMISS_LIMIT_S: Final = 1.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0


class Guardian:
    """The daemon's end of it. `start` it before anything else, `keep` it in the root nursery, and `dismiss`
    it when every process is known to be gone.

    - `instance`: the daemon's uuid, the value of the marker.
    - `on_started`, `on_ended`: told its pid, for whoever keeps the daemon's own children apart from adopted
      ones.
    - `warn`: takes a line for the log.

    The mutable state is the process and the daemon's end of the pipe, both there or both None; `start`,
    `dismiss` and `alarm` change it. There is no guardian where there is no /proc (macOS).
    """

    def __init__(
        self,
        instance: str,
        *,
        on_started: Callable[[int], None],
        on_ended: Callable[[int], None],
        warn: Callable[[str], None],
    ) -> None:
        self._instance = instance
        self._on_started = on_started
        self._on_ended = on_ended
        self._warn = warn
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it without waiting for it: about a millisecond. Never raises; without a guardian the daemon
        still works, and what a crash leaves is swept up at its next start."""
        if sys.platform != "linux":
            return
        reading, writing = os.pipe()
        try:
            self._process = _spawn(_command(self._instance), reading)
        except OSError as error:
            os.close(writing)
            self._warn(
                f"cannot start the guardian: {error.strerror}; should swapd be killed, models may go on"
            )
            return
        finally:
            os.close(reading)
        self._pipe = writing
        self._on_started(self._process.pid)

    async def keep(self) -> None:
        """Start another one whenever it ends, until cancelled. Sleeps while it lives."""
        if sys.platform != "linux":
            return
        pause = _FIRST_PAUSE_S
        while True:
            if self._process is not None:
                started_at = trio.current_time()
                await _ended(self._process.pid)
                if trio.current_time() - started_at > _LONGEST_PAUSE_S:
                    pause = _FIRST_PAUSE_S
                self._warn(f"the guardian (pid {self._process.pid}) was killed; starting another")
                self._let_go()
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            self.start()

    def dismiss(self) -> None:
        """Nothing is left: tell it so and wait for its end, which takes a few milliseconds, at most a second.

        Blocks, being the very last thing that the daemon does.
        """
        if self._process is None or self._pipe is None:
            return
        try:
            os.write(self._pipe, CLEAN_EXIT)
        except BrokenPipeError:
            pass  # somebody has killed it
        os.close(self._pipe)
        self._pipe = None
        try:
            self._process.wait(_DISMISS_LIMIT_S)
        except subprocess.TimeoutExpired:  # stopped, or starved
            self._process.kill()
        self._let_go()

    def alarm(self) -> None:
        """Have it kill everything now, just as if the daemon had died. Does not wait."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _let_go(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._on_ended(self._process.pid)
        self._process = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def _command(instance: str) -> list[str]:
    program = str(Path(marked_processes.__file__).resolve())
    if os.access(_SHELL, os.X_OK):
        script = _WAIT.format(word=CLEAN_EXIT.decode().strip())
        return [_SHELL, "-c", script, "swapd-guardian", sys.executable, program, instance]
    return [sys.executable, "-I", "-S", "-E", program, instance]


def _spawn(command: list[str], reading: int) -> subprocess.Popen[bytes]:
    """The child inherits the signal mask of the thread that starts it, so block everything meanwhile."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        return subprocess.Popen(
            command,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=without_supervision(os.environ),
            close_fds=True,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


async def _ended(pid: int) -> None:
    """Wait until a child of ours has ended; it is not collected. For ever where there are no pidfds."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        await trio.sleep_forever()
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
