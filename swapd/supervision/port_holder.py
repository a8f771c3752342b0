"""Who listens on a TCP port: for error messages that name the culprit.

Best effort and Linux only (it reads /proc): processes of other users cannot be looked into without
privileges, and elsewhere nobody is ever found.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attrs import frozen

_LISTENING: Final = "0A"  # TCP_LISTEN in the state column of /proc/net/tcp


@frozen
class PortHolder:
    """A process that listens on the port. `name` is the short name of its program."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


def find_port_holder(port: int) -> PortHolder | None:
    """The process that listens on `port` at any local address, if it can be found."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in _directories_of_processes():
        if _holds_one_of(process, links):
            return PortHolder(int(process.name), _name_of(process))
    return None


def _listening_inodes(port: int) -> set[str]:
    """Inodes of the sockets in state LISTEN on `port`, IPv4 and IPv6."""
    wanted = f":{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[1].endswith(wanted) and columns[3] == _LISTENING:
                inodes.add(columns[9])
    return inodes


def _directories_of_processes() -> list[Path]:
    try:
        return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _holds_one_of(process: Path, links: set[str]) -> bool:
    try:
        with os.scandir(process / "fd") as entries:
            for entry in entries:
                try:
                    if os.readlink(entry.path) in links:  # noqa: PTH115 - thousands of these
                        return True
                except OSError:
                    continue
    except OSError:
        pass  # it has ended, or belongs to somebody else
    return False


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
