"""Noticing that a client has gone while nobody reads from its connection.

While an app runs, its connection is not read: what the client sends meanwhile must wait, and a task that
reads only to see the end would cost as much as the rest of the server. So the kernel is asked once per
connection to tell of the end of its stream, by an epoll set (kqueue elsewhere) of its own in which reading
does not count, and one task of the server waits for that set. A request costs nothing by this.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable

import trio


class Hangups:
    """The connections being watched. Mutable state: who is to be told, by file descriptor."""

    def __init__(self) -> None:
        self._told: dict[int, Callable[[], None]] = {}
        self._open()

    def watch(self, fd: int, hung_up: Callable[[], None]) -> None:
        """Call `hung_up`, at least once, when the peer of `fd` has closed or shut down its side.

        That is also the case for a client that only shuts down its sending side and waits for the answer. It
        cannot be told from one that has left, and HTTP clients do not do it.
        """
        self._add(fd)
        self._told[fd] = hung_up

    def forget(self, fd: int) -> None:
        """Stop watching `fd`. To be called before it is closed: a number is soon used again."""
        if self._told.pop(fd, None) is not None:
            self._remove(fd)

    async def run(self) -> None:
        """Report hang-ups until cancelled, then close the set."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._fileno())
                for fd in self._gone():
                    hung_up = self._told.get(fd)
                    if hung_up is not None:
                        hung_up()
        finally:
            self._told.clear()
            self._close()

    if sys.platform == "linux":

        def _open(self) -> None:
            self._set = select.epoll()

        def _fileno(self) -> int:
            return self._set.fileno()

        def _add(self, fd: int) -> None:
            # Edge-triggered, as the condition lasts for as long as the descriptor.
            self._set.register(fd, select.EPOLLRDHUP | select.EPOLLET)

        def _remove(self, fd: int) -> None:
            self._set.unregister(fd)

        def _gone(self) -> list[int]:
            return [fd for fd, _ in self._set.poll(0)]

        def _close(self) -> None:
            self._set.close()

    else:

        def _open(self) -> None:
            self._set = select.kqueue()

        def _fileno(self) -> int:
            return self._set.fileno()

        def _add(self, fd: int) -> None:
            # kqueue has no filter for the end alone: this one also fires, once each, when data arrive.
            event = select.kevent(fd, select.KQ_FILTER_READ, select.KQ_EV_ADD | select.KQ_EV_CLEAR)
            self._set.control([event], 0)

        def _remove(self, fd: int) -> None:
            self._set.control([select.kevent(fd, select.KQ_FILTER_READ, select.KQ_EV_DELETE)], 0)

        def _gone(self) -> list[int]:
            return [
                event.ident for event in self._set.control(None, 256, 0) if event.flags & select.KQ_EV_EOF
            ]

        def _close(self) -> None:
            self._set.close()
