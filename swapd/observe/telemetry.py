"""All that watches the daemon, in one place: what requests report to, and what the API shows from.

Nothing in here may slow a request or fail one. Everything that takes time happens elsewhere and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapd.observe.events import EventHub
from swapd.observe.inflight import InFlight, InFlightRequest

if TYPE_CHECKING:
    from swapd.observe.inflight import BodyTap
    from swapd.observe.logs import Logs


class Telemetry:
    """The table of requests in flight and those who are told of it."""

    def __init__(self, logs: Logs) -> None:
        self.in_flight = InFlight(self)
        self.events = EventHub(self.in_flight, lambda text: logs.proxy.warn(text, event="events.dropped"))

    async def run(self) -> None:
        """Do what is done later and together, until cancelled. Sleeps while nobody watches."""
        await self.events.run()

    # -- what requests report --------------------------------------------------------------------------------

    def on_start(self, request: InFlightRequest) -> None:
        self.events.request_changed(request)

    def on_head(self, request: InFlightRequest) -> BodyTap | None:
        self.events.request_changed(request)
        return None

    def on_end(self, request: InFlightRequest) -> None:
        self.events.request_ended(request)
        self.events.models_changed()  # the idle time of its model begins
