"""`/api/inflight/{id}/cancel`: ending a request that is being answered."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import STRING, described, json, obj
from swapd.http.api.resource import json_response
from swapd.http.auth import caller_of, require_admin
from swapd.http.errors import Rejected
from swapd.http.paths import parameter


@described("End a request that is being answered", json(obj({"msg": STRING})), errors=(404,))
async def cancel(control: Control, request: Request) -> Response:
    """The request ends as if its client had left; the client is told so if nothing was sent to it yet."""
    id = parameter(request.path_params["id"])
    caller = caller_of(request.scope)
    if id.isascii() and id.isdigit() and not caller.is_admin:
        theirs = control.telemetry.in_flight.requests.get(int(id))
        if theirs is not None and theirs.key_name != caller.name:
            require_admin(request.scope)
    if not (id.isascii() and id.isdigit() and control.telemetry.in_flight.cancel(int(id))):
        raise Rejected.with_code("not_found", "inflight request not found")
    return json_response({"msg": "ok"})
