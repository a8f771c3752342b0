"""`/api/config/…`: which configuration is in force, where it came from, and taking over a new one."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from swapd.config import problem_as_json
from swapd.http.api.control import Control
from swapd.http.api.describe import (
    ANY_OBJECT,
    INTEGER,
    STRING,
    STRINGS,
    TIME,
    array,
    described,
    json,
    named,
    nullable,
    obj,
    one_of,
)
from swapd.http.api.resource import json_response
from swapd.observe.timestamps import utc_timestamp

_STATUS: Final = named(
    "ConfigStatus",
    obj(
        {
            "generation": INTEGER,
            "state": one_of("ok", "rejected", "reloading"),
            "sources": array(obj({"path": STRING, "sha256": STRING, "mtime": TIME})),
            "loaded_at": TIME,
            "trigger": one_of("start", "signal", "watch", "api"),
            "error": nullable(obj({"message": STRING, "problems": array(ANY_OBJECT)})),
            "changes": obj(dict.fromkeys(("added", "removed", "restarted", "updated", "unchanged"), STRINGS)),
            "needs_restart": STRINGS,
        }
    ),
)


@described("Which configuration is in force", json(_STATUS))
async def status(control: Control, request: Request) -> Response:
    """`GET /api/config/status`."""
    return json_response(status_as_json(control.config_status()))


@described("Read the configuration again", json(_STATUS), more={422: json(_STATUS)})
async def reload(control: Control, request: Request) -> Response:
    """`POST /api/config/reload`: answers when it is done; 422 if the new configuration was rejected."""
    after = await control.reload()
    return json_response(status_as_json(after), status=422 if after.state.value == "rejected" else 200)


@described("The configuration with all defaults, secrets masked", {"application/yaml": {}})
async def effective(control: Control, request: Request) -> Response:
    """`GET /api/config/effective`: as `swapd check --show` prints it."""
    from swapd.config.show import show  # needs the YAML writer, which a running daemon has no other use for

    return Response(show(control.config()), headers={"content-type": "application/yaml"})


def status_as_json(status: Any) -> dict[str, Any]:
    """A `ConfigStatus` as the API and the event `configStatus` show it."""
    changes = status.changes
    rejected = status.state.value == "rejected"
    return {
        "generation": status.generation,
        "state": status.state.value,
        "sources": [
            {"path": str(file.path), "sha256": file.sha256, "mtime": _time(file.mtime)}
            for file in status.sources
        ],
        "loaded_at": _time(status.loaded_at),
        "trigger": status.trigger.value,
        "error": {
            "message": status.message,
            "problems": [problem_as_json(problem) for problem in status.problems],
        }
        if rejected
        else None,
        "changes": {
            "added": changes.added,
            "removed": changes.removed,
            "restarted": changes.restarted,
            "updated": changes.updated,
            "unchanged": changes.unchanged,
        },
        "needs_restart": status.needs_restart,
    }


def _time(seconds: float) -> str:
    return utc_timestamp(int(seconds * 1e9))
