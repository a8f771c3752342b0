"""Sockets that the service manager opened for us: socket activation, sd_listen_fds(3).

They come as descriptors from 3 upward, if LISTEN_PID is our pid. LISTEN_FDNAMES names them
(`FileDescriptorName=` in the socket unit), and the names `http`, `https` and `admin` say what a socket is
for; any other name, among them the unit's own, leaves that to the flags.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from typing import Final

from attrs import frozen

_FIRST: Final = 3  # SD_LISTEN_FDS_START


class SocketRole(enum.Enum):
    """What a passed socket is for."""

    HTTP = "http"
    HTTPS = "https"
    ADMIN = "admin"
    UNSAID = ""


@frozen
class PassedSocket:
    fd: int
    role: SocketRole


def passed_sockets(environ: Mapping[str, str] = os.environ) -> tuple[PassedSocket, ...]:
    """The sockets passed to this very process; none if it was started in any other way.

    Call it before anything is started: from then on no child inherits them. Whether each is a listening
    socket is looked at when it is adopted (`swapd.supervision.listeners`, as `fd://N`).
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    sockets = []
    for index in range(int(count)):
        fd = _FIRST + index
        try:
            os.set_inheritable(fd, False)
        except OSError:
            pass  # not there: whoever adopts it says so
        sockets.append(PassedSocket(fd, _role(names[index] if index < len(names) else "")))
    return tuple(sockets)


def _role(name: str) -> SocketRole:
    try:
        return SocketRole(name)
    except ValueError:
        return SocketRole.UNSAID
