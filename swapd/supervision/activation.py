"""Sockets that the service manager opened for us: socket activation, sd_listen_fds(3).

They come as descriptors from 3 upward, if LISTEN_PID is our pid. What they are called (LISTEN_FDNAMES) makes
no difference: all of them are served alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_FIRST: Final = 3  # SD_LISTEN_FDS_START


def passed_descriptors(environ: Mapping[str, str] = os.environ) -> tuple[int, ...]:
    """The sockets passed to this very process; none if it was started in any other way.

    From now on no child inherits them. Whether each is a listening socket is looked at when it is adopted
    (`swapd.supervision.listeners`, as `fd://N`).
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return ()
    descriptors = tuple(range(_FIRST, _FIRST + int(count)))
    for descriptor in descriptors:
        try:
            os.set_inheritable(descriptor, False)
        except OSError:
            break  # not there: whoever adopts it says so
    return descriptors
