"""`/ready`: may a load balancer send requests here? `/health` says no more than that the process answers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control, Phase
from swapd.http.api.describe import STRING, STRINGS, described, json, obj
from swapd.http.api.resource import json_response

_AGAIN = {"Retry-After": "1"}


@described(
    "Whether requests are welcome",
    json(obj({"status": STRING})),
    more={503: json(obj({"status": STRING, "waiting": STRINGS}))},
)
async def ready(control: Control, request: Request) -> Response:
    readiness = control.readiness()
    if readiness.phase is Phase.READY:
        return json_response({"status": Phase.READY.value})
    answer = {"status": readiness.phase.value, "waiting": readiness.waiting}
    response = json_response(answer, _AGAIN)
    response.status_code = 503
    return response
