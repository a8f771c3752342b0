"""Saying «ready» the way s6 wants it: one newline on a descriptor, which is then closed.

The descriptor is inherited and named on the command line (`notification-fd` in s6, `--ready-fd` here).
"""

from __future__ import annotations

import os
from typing import Final

_FIRST_ALLOWED: Final = 3


class ReadyFdError(Exception):
    """There is no such descriptor. `str()` says so, for people."""


class ReadyFd:
    """The descriptor, from the command line to the one thing that is said on it."""

    def __init__(self, fd: int) -> None:
        """Raises `ReadyFdError`, so that a mistake in a run script is seen at once. From now on no child
        inherits the descriptor."""
        if fd < _FIRST_ALLOWED:
            raise ReadyFdError(f"--ready-fd must be 3 or higher, not {fd}: 0 to 2 are standard streams")
        try:
            os.set_inheritable(fd, False)
        except (OSError, OverflowError):
            raise ReadyFdError(f"--ready-fd {fd}: no such descriptor was passed to swapd") from None
        self._fd: int | None = fd

    def announce(self) -> None:
        """Say it, once. Never raises: if nobody listens any more, nobody needs to know."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            os.write(fd, b"\n")
        except OSError:
            pass
        finally:
            os.close(fd)
