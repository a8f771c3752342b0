"""Starting a child process: its environment, its own session, its pipes, and its end with ours.

**The death signal.** A leader asks the kernel to be killed when the daemon dies (prctl(2),
PR_SET_PDEATHSIG), so that even `kill -9` of the daemon leaves no model server behind. The request must
be made by the child itself, between fork and exec, and there Python offers only `preexec_fn`, which runs
the interpreter in a forked copy of a process that may have threads (documented as unsafe: it can hang
for ever) and gives up vfork for a copy of all page tables. So the command is started through
`setpriv --pdeathsig KILL --` of util-linux, which does nothing but make the request and exec. Measured,
from the spawn until a command has written its first byte: 1.0 ms bare, 1.9 ms through setpriv, 2.4 ms
with `preexec_fn`, 7.8 ms or more through a helper in Python.

For the 0.7 ms between fork and the request the child does not notice the death of its parent, and
setpriv cannot be told to look whether it has a new one. The marker in the environment is there from the
first instant, so the guardian, which looks for marked processes until there are none, closes that gap.

Two traps. The signal comes when the *thread* that forked ends, not the process: always spawn from the
thread that runs the event loop, never through `trio.to_thread`. And a set-user-ID program loses the
request when it is executed; nothing can be done about that. Where setpriv is missing (macOS, busybox),
processes start without it.

The whole of it, layer by layer, is described in docs/design/processes.md.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from swapd.nursery.launcher import LaunchError

_NOT_INHERITED = re.compile(r"LISTEN_(FDS|PID|FDNAMES)|NOTIFY_SOCKET|WATCHDOG_\w+")


OOM_SCORE = "500"
"""Of 1000: half of the memory of the machine counts on top of what the process uses."""


class Child(Struct, frozen=True):
    """A process just started: its pid and the read ends of its output."""

    pid: int
    stdout: int
    stderr: int


def child_environment(
    inherited: Mapping[str, str], additions: Sequence[str], marker: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a child: what the daemon has, then the model's `NAME=value` items, then the
    marker by which the child is found again.

    What the service manager told the daemon (sockets, notification, watchdog) is not for its children:
    they would take over its file descriptors or speak in its name. Items that are not `NAME=value` are
    left out.
    """
    env = {name: value for name, value in inherited.items() if not _NOT_INHERITED.fullmatch(name)}
    for item in additions:
        name, equals, value = item.partition("=")
        if name and equals:
            env[name] = value
    env.update(marker)
    return env


def find_death_signal_helper() -> tuple[str, ...]:
    """The words to put in front of a command so that it dies with this process; empty if there are none.

    Tries the helper once (2 ms, blocking), as busybox has a setpriv without that option.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return ()
    helper = (setpriv, "--pdeathsig", "KILL", "--")
    try:
        tried = subprocess.run(
            [*helper, "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return helper if tried.returncode == 0 else ()


def check_program(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Raise `LaunchError` if the first word of `argv` cannot be executed.

    Asked beforehand, because a helper that fails to exec can only complain on stderr and exit.
    """
    if not argv or not argv[0]:
        raise LaunchError("empty command: `cmd` of this model has no program to run")
    program = argv[0]
    found = shutil.which(program, path=env.get("PATH", os.defpath))
    if found is None:
        raise _cannot_run(program, _why_not_executable(program))
    interpreter = _interpreter(found)
    if interpreter and not os.access(interpreter, os.X_OK):
        raise _cannot_run(program, f"its interpreter {interpreter} is missing or not executable")


def spawn(argv: Sequence[str], env: Mapping[str, str], *, helper: Sequence[str] = ()) -> Child:
    """Start `argv`, through `helper` if given, as the leader of a new session, hence of a new group.

    Blocks for some 0.2 ms (vfork). The child has /dev/null as stdin and no descriptor of ours but the
    two pipes. Raises `LaunchError` with the text of the operating system.
    """
    descriptors: list[int] = []
    try:
        descriptors += os.pipe()
        descriptors += os.pipe()
        stdout, stdout_child, stderr, stderr_child = descriptors
        process = subprocess.Popen(
            [*helper, *argv],
            stdin=subprocess.DEVNULL,
            stdout=stdout_child,
            stderr=stderr_child,
            env=env,
            close_fds=True,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word
        for descriptor in descriptors:
            os.close(descriptor)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _cannot_run(argv[0], reason) from error
    os.close(stdout_child)
    os.close(stderr_child)
    _offer_to_the_oom_killer(process.pid)
    # From here on the child belongs to an ExitWatch. Popen would reap it when it is garbage-collected,
    # and free a pid that we are about to signal, unless it believes it has the status already.
    process.returncode = 0
    return Child(process.pid, stdout, stderr)


def _cannot_run(program: str, reason: str) -> LaunchError:
    return LaunchError(f"cannot run {program if program.isprintable() else repr(program)}: {reason}")


def _why_not_executable(program: str) -> str:
    if "/" not in program:
        return f"{os.strerror(errno.ENOENT)} (not found in PATH)"
    path = Path(program)
    if path.is_dir():
        return os.strerror(errno.EISDIR)
    return os.strerror(errno.EACCES if path.exists() else errno.ENOENT)


def _interpreter(program: str) -> str:
    """The path behind `#!` in the first line of a script; empty if it is none."""
    try:
        with Path(program).open("rb") as file:
            first_line = file.read(256).split(b"\n", 1)[0]
    except OSError:  # executable, but not readable
        return ""
    if not first_line.startswith(b"#!"):
        return ""
    words = first_line[2:].split()
    return os.fsdecode(words[0]) if words else ""


def _offer_to_the_oom_killer(pid: int) -> None:
    """Have the kernel take this process, and what it starts, before others when memory runs out.

    A model can be loaded again, a desktop session or swapd cannot. Everybody may raise the figure of their
    own processes (proc(5), oom_score_adj); one that is higher already stays.
    """
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_SCORE)
    except OSError:
        return  # not on Linux, or the process has ended, or it would have been lowered
