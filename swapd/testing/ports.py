"""TCP ports of 127.0.0.1 that nobody listens on.

Nothing keeps a port free after it has been found: whoever wants it should take it soon.
"""

from __future__ import annotations

import random
import socket

_RANGE = (20_000, 32_000)
"""Below the kernel's ephemeral ports, so that no outgoing connection takes one of ours."""


def free_port() -> int:
    """Any free port."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many free ports in a row, somewhere; by chance, so that parallel runs rarely meet."""
    for _ in range(200):
        first = random.randrange(*_RANGE)
        if all(map(is_free, range(first, first + count))):
            return first
    raise OSError(f"found no {count} free ports in a row between {_RANGE[0]} and {_RANGE[1]}")


def free_ports_from(lowest: int, count: int) -> int:
    """The first of so many free ports in a row, at `lowest` or as soon after it as possible."""
    for first in range(lowest, 65_536 - count):
        if all(map(is_free, range(first, first + count))):
            return first
    raise OSError(f"found no {count} free ports in a row from {lowest} on")


def is_free(port: int) -> bool:
    """Whether the port could be listened on right now."""
    with socket.socket() as sock:
        # As servers do: a port that only has connections in TIME_WAIT is free.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
