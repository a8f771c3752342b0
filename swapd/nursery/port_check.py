"""Is somebody already listening on the port a model is about to get?

A server left over from yesterday, or a stranger's, would answer the health check, and every request for
the model would go to it. So the start of a model fails if the port swapd assigned to it is taken.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import trio

from swapd.nursery.launcher import LaunchError

_LISTEN = "0A"
_COMMAND_LENGTH = 80


async def check_port_is_free(port: int) -> None:
    """Raise `LaunchError`, naming the owner if it can be seen, if anything listens on TCP `port`.

    Connections of an earlier server that linger in TIME_WAIT are not listeners and do no harm.
    """
    if _can_bind(port):
        return
    inodes = _listeners(port)
    if inodes is not None and not inodes:
        return  # an outgoing connection happens to use the number: nobody answers there
    owner = await _owner(inodes or set())
    by = f"by pid {owner[0]} ({owner[1]})" if owner else "by a process of another user"
    raise LaunchError(
        f"port in use {by}: swapd assigned port {port} to this model, but something listens there already; "
        "end that process, or choose other ports with startPort"
    )


def _can_bind(port: int) -> bool:
    """Whether a server could listen on the port, on every address.

    With SO_REUSEADDR the kernel refuses only for the sake of a listener, or of a socket without that
    option; not for one in TIME_WAIT. The socket never listens, so nobody can connect to it meanwhile.
    """
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            # No IPv6 here, or none on this machine's interfaces: nothing can listen there either.
    return True


def _listeners(port: int) -> set[str] | None:
    """Inodes of the sockets that listen on `port` (proc_pid_net(5)); None where there is no /proc."""
    inodes: set[str] = set()
    tables_read = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        tables_read += 1
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes if tables_read else None


async def _owner(inodes: set[str]) -> tuple[int, str] | None:
    """Pid and command line of a process that has one of the sockets open, as far as we may look."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for directory in _process_directories():
        await trio.lowlevel.checkpoint()
        if any(target in wanted for target in _open_files(directory)):
            return int(directory.name), _command_line(directory)
    return None


def _process_directories() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*")


def _open_files(process: Path) -> Iterator[str]:
    """What the descriptors of a process refer to: paths, `socket:[inode]` and the like."""
    with suppress(OSError):  # it ended, or belongs to another user
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                yield str(link.readlink())


def _command_line(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    text = b" ".join(words).decode("utf-8", "replace").strip()
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable if len(printable) <= _COMMAND_LENGTH else printable[: _COMMAND_LENGTH - 1] + "…"
