"""What became of one request, noted down by whoever answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from swapd.http.client_address import TrustedProxies
from swapd.http.server.asgi import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from swapd.observe.inflight import InFlight, InFlightRequest

RECORD: Final = "swapd.record"
"""The key under which a request's scope holds its `RequestRecord`."""


class RequestRecord:
    """Status and size of the answer to one request, for the access log and for those who watch.

    `status` is 0 until the head of the response is sent; `bytes_sent` counts body bytes as handed to the
    server. Whoever calls `send` fills it in as it goes: a wrapper around `send` would cost more than all the
    rest of the bookkeeping. `request` is set for requests for models, once the model's name is known.
    """

    __slots__ = ("bytes_sent", "error_code", "request", "status")

    def __init__(self) -> None:
        self.status = 0
        self.bytes_sent = 0
        self.error_code = ""
        """The code of the error that swapd itself answered with, if it did."""
        self.request: InFlightRequest | None = None


class Tracker:
    """Enters requests for models among those in flight; the application takes them out."""

    def __init__(self, in_flight: InFlight, proxies: Callable[[], TrustedProxies] | None = None) -> None:
        """`proxies` is asked for each request, so it must not make them anew: parsing their networks costs a
        fifth of what a request costs in all. Without it only this machine is trusted."""
        self.in_flight = in_flight
        this_machine = TrustedProxies()
        self._proxies = proxies or (lambda: this_machine)

    def begin(
        self, scope: Scope, name: str, *, forwarded_path: bytes, recorded: bool, shown_path: str = ""
    ) -> InFlightRequest:
        """From now on the request of `scope` is one for the model `name`, the resolved id if there is one.

        `forwarded_path` is what the upstream sees; `shown_path`, if it is another, what lists show.
        """
        record: RequestRecord = scope[RECORD]
        peer = scope["client"]
        request = record.request = self.in_flight.begin(
            name,
            method=scope["method"],
            path=shown_path or scope["path"],
            forwarded_path=forwarded_path.decode("latin-1"),
            query=scope["query_string"],
            headers=scope["headers"],
            client=self._proxies().client_ip(peer[0] if peer else "", scope["headers"]),
            progress=record,
            recorded=recorded,
        )
        return request
