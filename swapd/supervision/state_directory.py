"""The directory in which a daemon keeps what must outlive it, and the lock that makes it the only one there.

The lock is flock(2) on a file in it: the kernel lets go of it however the daemon ends, and nothing it starts
inherits it. The file holds the pid of the holder, for the message that a second daemon gives.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LOCK: Final = "lock"


class StateDirectoryError(Exception):
    """The directory cannot be used. `str()` says why, for people."""


class StateDirectoryBusy(StateDirectoryError):
    """Another daemon holds the directory; `pid` is its number where that is known."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"another swapd (pid {pid})" if pid else "another swapd"
        super().__init__(f"{who} uses the state directory {path}")
        self.pid = pid


class StateDirectory:
    """A state directory that is locked for this process, from `open` to `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> StateDirectory:
        """Make the directory if need be, readable for us alone, and lock it. Does not wait.

        Raises `StateDirectoryBusy` or, when there is no such directory to be had, `StateDirectoryError`.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(path / _LOCK, flags, 0o600)
        except OSError as error:
            raise StateDirectoryError(
                f"cannot use the state directory {path}: {error.strerror or error}"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            holder = _holder(lock)
            os.close(lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise StateDirectoryBusy(path, holder) from None
            raise StateDirectoryError(
                f"cannot lock the state directory {path}: {error.strerror or error}"
            ) from error
        return cls(path, lock)

    def close(self) -> None:
        """Let another daemon have it. Closing twice is fine."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def default_state_directory(environ: Mapping[str, str]) -> Path:
    """Where the state is kept when nobody says: where the service manager says, else where the XDG Base
    Directory Specification says, for root /var/lib/swapd."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if home := environ.get("XDG_STATE_HOME"):
        return Path(home) / "swapd"
    if os.geteuid() == 0:
        return Path("/var/lib/swapd")
    return Path(environ.get("HOME") or "/") / ".local" / "state" / "swapd"


def _holder(lock: int) -> int | None:
    digits = os.pread(lock, 32, 0).strip()
    return int(digits) if digits.isdigit() else None
