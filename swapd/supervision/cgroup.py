"""A control group for each instance, where the service manager has delegated ours to us.

From its control group (cgroup v2, Linux 5.14 for `cgroup.kill`) no process escapes, however often it forks
and whatever it does to its session or environment. So where we may have groups of our own, each instance
gets one, and killing it is the last word after everything else. Delegation is `Delegate=yes` in the unit,
and systemd marks what it has delegated with an extended attribute; without that mark we do not touch a group
even if we could, as root can everywhere: groups have one manager each, and it would be somebody else.

No resource controller is switched on, so processes may be both in our group and in those below it.

A process is moved right after its start. What it forks before that, in the first tenth of a millisecond,
stays in our group; it is found by its marker like everything else.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_DELEGATED: Final = ("user.delegate", "trusted.delegate")  # systemd 251 and later; before, visible to root
_PREFIX: Final = "swapd-"


class InstanceCgroups:
    """The groups of the instances, below `parent`. Does nothing at all if `parent` is None.

    Nothing here raises: what does not work is told to `warn` once, and the other ways to find a process
    remain. The mutable state is which groups exist: one per leader that lives, and those that could not be
    removed yet, because something in them is still dying.
    """

    def __init__(self, parent: Path | None, instance: str, warn: Callable[[str], None]) -> None:
        self._parent = parent
        self._instance = instance
        self._warn = warn
        self._groups: dict[int, Path] = {}
        self._dying: list[Path] = []
        self._warned = False

    def add(self, pid: int) -> None:
        """Move a process that has just been started into a group of its own."""
        if self._parent is None:
            return
        group = self._parent / f"{_PREFIX}{self._instance}-{pid}"
        try:
            group.mkdir()
            self._groups[pid] = group
            _write(group / "cgroup.procs", str(pid))
        except ProcessLookupError:
            pass  # it has ended already
        except OSError as error:
            self._complain(f"cannot give a process a control group of its own: {group}: {error.strerror}")

    def kill(self, pid: int) -> None:
        """SIGKILL to everything in the group of this leader."""
        if group := self._groups.get(pid):
            self._kill(group)

    def remove(self, pid: int) -> None:
        """The instance is gone: kill whatever may still be in its group, and remove the group."""
        if group := self._groups.pop(pid, None):
            self._kill(group)
            self._dying.append(group)
        self._remove_dead()

    def remove_left(self, instances: Iterable[str]) -> None:
        """Kill and remove the groups that dead daemons have left."""
        if self._parent is None:
            return
        for instance in instances:
            for group in self._parent.glob(f"{_PREFIX}{instance}-*"):
                self._kill(group)
                self._dying.append(group)
        self._remove_dead()

    def _kill(self, group: Path) -> None:
        try:
            _write(group / "cgroup.kill", "1")
        except FileNotFoundError:
            pass  # before Linux 5.14, or the group has been removed by somebody else
        except OSError as error:
            self._complain(f"cannot kill the control group {group}: {error.strerror}")

    def _remove_dead(self) -> None:
        self._dying = [group for group in self._dying if not _is_removed(group)]

    def _complain(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(problem)


def delegated_cgroup(proc: Path = Path("/proc/self")) -> Path | None:
    """The directory of our control group if it has been delegated to us, else None."""
    group = _own_cgroup(proc)
    return group if group is not None and _is_delegated(group) else None


def _own_cgroup(proc: Path) -> Path | None:
    """Where cgroup v2 shows the group that we are in; see cgroups(7) and proc_pid_mountinfo(5)."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    own = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    if own is None:
        return None
    for line in mounts:
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            root, mount_point = map(_unescape, fields.split(" ")[3:5])
            with suppress(ValueError):  # we are in another part of the hierarchy
                return Path(mount_point) / Path(own).relative_to(root)
    return None


def _is_delegated(group: Path) -> bool:
    for attribute in _DELEGATED:
        try:
            if os.getxattr(group, attribute) == b"1":
                return True
        except (AttributeError, OSError):  # no such attribute, or no right to see it; macOS has none at all
            continue
    return False


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError as error:
        return error.errno != errno.EBUSY  # busy: something in it is still on its way out
    return True


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)  # these files cannot be created, so do not try
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _unescape(field: str) -> str:
    """Blanks and the like stand as three octal digits in mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda digits: chr(int(digits[1], 8)), field)
