"""Stopping models on request. Every route answers when the models have stopped, also if they already had."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import FLAG, STRING, TEXT, described, json, obj
from swapd.http.api.models import require_allowed
from swapd.http.api.resource import flag, json_response, text_response
from swapd.http.errors import Rejected
from swapd.http.paths import parameter


@described("Stop all models", TEXT)
async def unload_all_as_text(control: Control, request: Request) -> Response:
    """`GET /unload`, for people."""
    await control.manager.unload(None)
    return text_response("OK")


@described("Stop all models", json(obj({"msg": STRING})), query={"drain": FLAG})
async def unload_all(control: Control, request: Request) -> Response:
    """`POST /api/models/unload`; with `?drain=1` requests in progress end first."""
    await control.manager.unload(None, drain=flag(request, "drain"))
    return json_response({"msg": "ok"})


@described("Stop one model", TEXT, errors=(404,), query={"drain": FLAG})
async def unload_one(control: Control, request: Request) -> Response:
    """`POST /api/models/unload/{model…}`: an id or alias, whose slashes may be escaped or not.

    `?drain=1` as above.
    """
    model = control.config().resolve(parameter(request.path_params["model"]))
    if model is None:
        raise Rejected.with_code("not_found", "model not found")
    require_allowed(control, request, model)
    await control.manager.unload([model], drain=flag(request, "drain"))
    return text_response("OK")
