"""Living under a service manager: what systemd, s6 and their like are told, and when.

systemd hears about start, reload, status, life and stop (`swapd.supervision.notify`), s6 about the start only
(`swapd.supervision.ready_fd`). Where nobody listens, none of this costs anything: no task, no timer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import trio

from swapd.supervision.notify import Notifier, watchdog_interval_s
from swapd.supervision.ready_fd import ReadyFd
from swapd.supervision.watchdog import ActorWatch, feed_watchdog


class ServiceManager:
    """Whoever started us and wants to know how we are. Nothing here blocks or raises.

    `status` gives the one line that `systemctl status` shows; it is asked whenever something is said.
    """

    def __init__(
        self,
        *,
        ready_fd: ReadyFd | None,
        status: Callable[[], str],
        warn: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._notifier = Notifier(environ, warn)
        self._watchdog_interval_s = watchdog_interval_s(environ) if self._notifier.enabled else None
        self._ready_fd = ready_fd
        self._status = status
        self._warn = warn

    @property
    def listens(self) -> bool:
        """Whether anybody hears what is said here."""
        return self._notifier.enabled

    def ready(self) -> None:
        """We serve requests: say it to whoever waits for it."""
        self._notifier.ready(self._status())
        if self._ready_fd is not None:
            self._ready_fd.announce()

    def update_status(self, _event: object = None) -> None:
        """Something happened that may show in the status. Takes the event for the sake of subscriptions."""
        if self._notifier.enabled:
            self._notifier.status(self._status())

    def reloading(self) -> AbstractContextManager[None]:
        """A block in which the configuration is reloaded."""
        return self._notifier.reloading(self._status)

    def stopping(self) -> None:
        """An orderly stop has begun."""
        self._notifier.stopping(self._status())

    async def run(self, watch: ActorWatch) -> None:
        """Feed the watchdog, if there is one, as long as the actor lives; until cancelled.

        Returns at once where nobody listens.
        """
        if not self._notifier.enabled:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notifier.run)
            if self._watchdog_interval_s is not None:
                nursery.start_soon(
                    feed_watchdog, self._notifier.watchdog, self._watchdog_interval_s, watch, self._warn
                )

    async def ask_for_patience(self) -> None:
        """While we stop: see to it that nobody loses patience, until cancelled."""
        if self._notifier.enabled:
            await self._notifier.keep_extending()

    def close(self) -> None:
        """We end. Say what could not be said yet."""
        self._notifier.close()
