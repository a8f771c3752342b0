"""`--pid-file`: the daemon's number, for scripts that want to send it a signal.

The file is information, not a lock: whether a daemon runs is decided by the lock of the state directory,
which cannot be stale.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class PidFileError(Exception):
    """The file cannot be written. `str()` says why, for people."""


@contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """The file holds our pid during the block, and is gone afterwards unless somebody else has written it.

    Whoever reads it sees a whole number or no file. Raises `PidFileError`; None writes nothing.
    """
    if path is None:
        yield
        return
    text = f"{os.getpid()}\n"
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise PidFileError(f"cannot write the pid file {path}: {error.strerror or error}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text() == text:
                path.unlink()
