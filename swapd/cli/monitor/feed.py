"""Keeps up a connection to the events of a daemon, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from swapd.cli.client import Answer, Client
from swapd.cli.errors import CliError

_TYPES: Final = "modelStatus,inflight"
_SILENCE_S: Final = 45.0
"""The daemon says something every 15 s; after this it is taken for gone."""
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0


class Feed:
    """Tells `begun` of each new connection, with the daemon's status, `event` of each event, and `lost` of
    why there is none, all in the feed's thread. The mutable state is the answer that is being read."""

    def __init__(
        self,
        client: Client,
        begun: Callable[[dict[str, Any]], None],
        event: Callable[[str, Any], None],
        lost: Callable[[str], None],
    ) -> None:
        self._client = client
        self._begun = begun
        self._event = event
        self._lost = lost
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._answer: Answer | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it; does not wait."""
        with self._lock:
            self._over.set()
            if self._answer is not None:
                self._answer.hang_up()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._over.is_set():
            try:
                status = self._client.get("/api/status")
                with self._client.open(
                    "GET", "/api/events", {"types": _TYPES}, timeout_s=_SILENCE_S, accept="text/event-stream"
                ) as answer:
                    self._hold(answer)
                    self._begun(status)
                    pause = _FIRST_PAUSE_S
                    for kind, event in answer.events():
                        self._event(kind, event)
                problem = "swapd has ended the connection"
            except CliError as error:
                problem = str(error)
            if not self._over.is_set():
                self._lost(problem)
                self._over.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _hold(self, answer: Answer) -> None:
        with self._lock:
            self._answer = answer
            if self._over.is_set():
                answer.hang_up()
