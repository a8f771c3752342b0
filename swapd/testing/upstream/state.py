"""What one fake upstream knows: its settings, what it has received, whom it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from time import monotonic

from swapd.testing.upstream.settings import Settings
from swapd.testing.upstream.wire import Request


class Exchange:
    """One recorded model request and what became of it.

    Mutable state: `outcome` ("running", then "done" or "aborted"), `ended_at`, `tokens_sent` and `released`.
    Times are seconds of the monotonic clock, the same for all processes of one machine.
    """

    def __init__(self, number: int, request: Request) -> None:
        self.number = number
        self.request = request
        self.received_at = monotonic()
        self.ended_at: float | None = None
        self.outcome = "running"
        self.tokens_sent = 0
        self.released = False

    def as_json(self) -> dict[str, object]:
        request = self.request
        return {
            "number": self.number,
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body_length": request.body_length,
            "body_sha256": request.body_sha256,
            "json": request.json(),
            "received_at": self.received_at,
            "ended_at": self.ended_at,
            "outcome": self.outcome,
            "tokens_sent": self.tokens_sent,
        }


class UpstreamState:
    """The mutable state of one fake upstream, changed by its conversations and its control routes.

    `settings`, `ready` and `uploads_released` may be set from outside; call `notify` afterwards. `on_change`
    is the driver's: it is called after every change and looks again at each `Until`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ready = settings.load_s <= 0
        self.uploads_released = False
        self.exchanges: list[Exchange] = []
        self.wire_errors: list[str] = []
        self.random = Random(settings.seed)
        self.on_change: Callable[[], None] = lambda: None

    @property
    def aborted(self) -> list[Exchange]:
        """Exchanges whose client left before the answer was complete."""
        return [exchange for exchange in self.exchanges if exchange.outcome == "aborted"]

    @property
    def answered(self) -> int:
        return sum(exchange.outcome == "done" for exchange in self.exchanges)

    @property
    def running(self) -> int:
        return sum(exchange.outcome == "running" for exchange in self.exchanges)

    def notify(self) -> None:
        self.on_change()

    def change(self, changes: Mapping[str, object]) -> None:
        """Turn knobs, by name; they hold from the next request on."""
        self.settings = self.settings.changed(changes)
        self.notify()

    def become_ready(self) -> None:
        self.ready = True
        self.notify()

    def record(self, request: Request) -> Exchange:
        exchange = Exchange(len(self.exchanges) + 1, request)
        self.exchanges.append(exchange)
        self.notify()
        return exchange

    def count_token(self, exchange: Exchange) -> None:
        exchange.tokens_sent += 1
        self.notify()

    def client_left(self, unfinished: Request | None) -> None:
        """Note that a connection ended; a request whose body had not come whole counts as aborted."""
        if unfinished is not None:
            self.finish(self.record(unfinished), "aborted")

    def finish(self, exchange: Exchange, outcome: str) -> None:
        exchange.outcome, exchange.ended_at = outcome, monotonic()
        self.notify()

    def hold(self) -> None:
        """Keep the model requests from now on waiting."""
        self.settings = self.settings.changed({"hold": True})
        self.notify()

    def release(self, count: int | None = None) -> None:
        """Let held requests go: the `count` oldest, or all of them and hold no more."""
        waiting = [e for e in self.exchanges if e.outcome == "running" and not e.released]
        for exchange in waiting[:count]:
            exchange.released = True
        if count is None:
            self.settings = self.settings.changed({"hold": False})
            self.uploads_released = True
        self.notify()

    def upload_stalled(self, request: Request | None) -> bool:
        """Whether the rest of this request's body is to be left unread for now."""
        limit = self.settings.stall_upload_bytes
        return bool(limit and request and not self.uploads_released and request.body_length >= limit)
