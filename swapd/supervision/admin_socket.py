"""The admin socket: a unix socket through which this machine's operators manage the daemon without a key.

It is there whenever there is a directory for such things. Who may use it is a matter of its mode, 0660: the
user that the daemon runs as, and that user's group. It speaks plain HTTP, whatever the other listeners do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from swapd.supervision.listeners import (
    Listener,
    ListenError,
    ListenSyntaxError,
    UnixAddress,
    bind_all,
)

SOCKET_NAME: Final = "swapd.sock"
MODE: Final = 0o660
OFF: Final = "off"


class AdminSocket(NamedTuple):
    """The socket: one listener or none; `remark` says why there is none where one could be expected."""

    listeners: tuple[Listener, ...] = ()
    remark: str = ""

    @property
    def lines(self) -> list[str]:
        """What a daemon says about it when it has started."""
        if self.listeners:
            return [f"admin socket: {self.listeners[0].place}, no key needed"]
        return [self.remark] if self.remark else []


def open_admin_socket(
    place: str | None, runtime_directory: Path | None, environ: Mapping[str, str]
) -> AdminSocket:
    """Listen at `place`, a path or "off"; else as `swapd.sock` in the runtime directory, if there is one.

    Raises `ListenError` if that cannot be had and a flag has asked for it. A place that nobody has named is
    done without, for example because another swapd has it.
    """
    if place == OFF:
        return AdminSocket()
    if place is not None:
        if not place.startswith("/"):
            raise ListenSyntaxError(
                f"cannot understand the admin socket {place!r}: the path must be absolute",
                "write --admin-socket /path or --admin-socket off",
            )
        return AdminSocket((_listen(Path(place)),))
    if runtime_directory is not None:
        return AdminSocket((_listen(runtime_directory.absolute() / SOCKET_NAME),))
    usual = usual_runtime_directory(environ)
    if usual is None:
        return AdminSocket()
    try:
        return AdminSocket((_listen(usual / SOCKET_NAME),))
    except ListenError as error:
        return AdminSocket((), f"no admin socket: {error}")


def usual_runtime_directory(environ: Mapping[str, str]) -> Path | None:
    """Where the service manager says, else that of the user's session, else /run/swapd; None if there is
    none that we may write to."""
    named = [environ.get("RUNTIME_DIRECTORY", "").split(":")[0], environ.get("XDG_RUNTIME_DIR", "")]
    for place in [*filter(None, named), "/run/swapd"]:
        if Path(place).is_absolute() and Path(place).is_dir() and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    return None


def _listen(path: Path) -> Listener:
    [listener] = bind_all([UnixAddress(str(path), MODE)])
    return listener
