"""The table of requests in flight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio

from swapd.observe.inflight import InFlight, InFlightRequest, shown_headers


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def on_start(self, request: InFlightRequest) -> None:
        self.heard.append(("start", request.id))

    def on_head(self, request: InFlightRequest) -> None:
        self.heard.append(("head", request.id))

    def on_end(self, request: InFlightRequest) -> None:
        self.heard.append(("end", request.id))


def begin(table: InFlight, model: str = "m1", **more: Any) -> InFlightRequest:
    known: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "forwarded_path": "/v1/chat/completions",
        "query": b"",
        "headers": [(b"user-agent", b"curl")],
        "client": "192.0.2.7",
        "progress": SimpleNamespace(status=0, bytes_sent=0),
        "recorded": True,
    }
    return table.begin(model, **{**known, **more})


def test_given_a_request_when_it_passes_then_start_head_and_end_are_told_in_order_and_once() -> None:
    listener = Listener()
    table = InFlight(listener)
    first, second = begin(table), begin(table)

    first.begin_response([(b"content-type", b"text/plain")])
    second.end()
    first.end()
    first.end()

    told = [("start", 1), ("start", 2), ("head", 1), ("end", 2), ("end", 1)]
    assert listener.heard == told
    assert table.requests == {}


def test_given_requests_when_shown_then_the_oldest_is_first_and_ids_are_decimal_text() -> None:
    table = InFlight()
    begin(table)
    request = begin(table, "cap")
    request.note("selector", "pick")

    entries = table.entries()

    assert [entry["id"] for entry in entries] == ["1", "2"]
    assert entries[1]["metadata"] == {"selector": "pick"}
    assert "metadata" not in entries[0]
    assert entries[0]["req_headers"] == {"User-Agent": "curl"}
    assert entries[0]["resp_headers"] == {}


def test_given_secrets_when_headers_are_shown_then_they_are_masked_and_only_first_values_count() -> None:
    shown = shown_headers(
        [
            (b"host", b"example"),
            (b"authorization", b"Bearer s"),
            (b"x-api-key", b"s"),
            (b"accept", b"a"),
            (b"accept", b"b"),
        ]
    )

    assert shown == {"Authorization": "[REDACTED]", "X-Api-Key": "[REDACTED]", "Accept": "a"}


def test_given_a_request_when_it_is_cancelled_then_its_work_is_and_only_known_ids_count() -> None:
    table = InFlight()
    request = begin(table)
    first, second = trio.CancelScope(), trio.CancelScope()
    request.can_be_cancelled_by(first)

    assert not table.cancel(7)
    assert table.cancel(1)
    request.can_be_cancelled_by(second)

    assert request.cancelled
    assert first.cancel_called
    assert second.cancel_called, "what begins too late is not done either"
