"""The environment for the daemon's own helpers: what the service manager told the daemon is left out.

A helper that inherits it would speak to the service manager in the daemon's name or take descriptors for
sockets passed to it. The marker of an outer swapd, under which this one may itself run as a model, is left
out as well: helpers must outlive what they clean up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NOT_INHERITED: Final = re.compile(
    r"LISTEN_(FDS|PID|FDNAMES)|NOTIFY_SOCKET|WATCHDOG_\w+|SWAPD_(INSTANCE|MODEL|GEN)"
)


def without_supervision(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not _NOT_INHERITED.fullmatch(name)}
