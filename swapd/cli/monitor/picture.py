"""What is known of a daemon, as its events have told it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import define, field


@define
class Picture:
    """The mutable state is all of it; `apply` changes it, and `begin` with each new connection."""

    models: list[dict[str, Any]] = field(factory=list)
    """Local models, as `GET /api/models` lists them."""
    requests: dict[str, dict[str, Any]] = field(factory=dict)
    """Those in flight, by id; `seen_at` is when we heard of them last (monotonic)."""
    status: dict[str, Any] = field(factory=dict)
    """The answer of `GET /api/status`."""
    problem: str = ""
    """Why there is no connection; empty while there is one."""
    _now: Callable[[], float] = time.monotonic

    def begin(self, status: dict[str, Any]) -> None:
        """There is a connection: what was known may be out of date, and comes again."""
        self.status = status
        self.requests.clear()
        self.problem = ""

    def lost(self, problem: str) -> None:
        """There is none any more; what was known stays, to be looked at."""
        self.problem = problem

    def apply(self, kind: str, event: Any) -> None:
        """Take in one event of `/api/events`; those of other kinds change nothing."""
        if kind == "modelStatus":
            self.models = [entry for entry in event if not entry["peerID"]]
        elif kind == "inflight":
            self._apply_inflight(event)

    def elapsed_s(self, request: dict[str, Any]) -> float:
        """How old a request is now."""
        return float(request["elapsed_ms"] / 1000 + self._now() - request["seen_at"])

    def _apply_inflight(self, event: Any) -> None:
        match event["operation"]:
            case "snapshot":
                self.requests.clear()
                for request in event["requests"]:
                    self._note(request)
            case "upsert":
                self._note(event["request"])
            case "remove":
                self.requests.pop(event["id"], None)

    def _note(self, request: dict[str, Any]) -> None:
        self.requests[request["id"]] = {**request, "seen_at": self._now()}
