"""A service manager's notification socket, as tests see it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FakeManager:
    """Listens on NOTIFY_SOCKET. `heard` is everything said so far, one list of lines a message."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[list[str]]:
        """The messages since the last call."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@contextmanager
def fake_manager(directory: Path, *, abstract: bool = False) -> Iterator[FakeManager]:
    """A service manager that listens during the block."""
    manager = FakeManager(f"@swapd-test-{os.getpid()}" if abstract else str(directory / "notify"))
    try:
        yield manager
    finally:
        manager.close()
