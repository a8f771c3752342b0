"""`/api/status`: the daemon in a few numbers, for a status bar or a script."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control, Phase
from swapd.http.api.describe import BOOLEAN, INTEGER, STRING, TIME, described, json, mapping, obj
from swapd.http.api.resource import json_response
from swapd.observe.timestamps import utc_timestamp

_STATUS: Final = obj(
    {
        "version": STRING,
        "commit": STRING,
        "started_at": TIME,
        "uptime_s": INTEGER,
        "config": obj({"generation": INTEGER, "state": STRING}),
        "models": mapping(INTEGER),
        "inflight": INTEGER,
        "queued": INTEGER,
        "ready": BOOLEAN,
        "stopping": BOOLEAN,
    }
)


@described("The whole daemon in a few numbers", json(_STATUS))
async def status(control: Control, request: Request) -> Response:
    snapshot: Any = control.manager.snapshot()
    config = control.config_status()
    phase = control.readiness().phase
    states = Counter(model.state.value for model in snapshot.models.values())
    return json_response(
        {
            "version": control.build.version,
            "commit": control.build.commit,
            "started_at": utc_timestamp(int(control.started_at * 1e9)),
            "uptime_s": max(0, int(control.now() - control.started_at)),
            "config": {"generation": config.generation, "state": config.state.value},
            "models": dict(sorted(states.items())),
            "inflight": len(control.telemetry.in_flight.requests),
            "queued": snapshot.queued,
            "ready": phase is Phase.READY,
            "stopping": phase is Phase.STOPPING,
        }
    )
