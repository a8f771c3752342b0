"""`/running`: the models that have a process now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import INTEGER, STRING, array, described, json, obj
from swapd.http.api.resource import json_response
from swapd.http.auth import caller_of
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from swapd.config import ModelConfig


_RUNNING: Final = obj(
    {**dict.fromkeys(("model", "state", "cmd", "proxy", "name", "description"), STRING), "ttl": INTEGER}
)


@described("The models that have a server now", json(obj({"running": array(_RUNNING)})))
async def running(control: Control, request: Request) -> Response:
    models = control.config().models
    caller, config = caller_of(request.scope), control.config()
    entries = [
        _entry(models[name], state)
        for name, state in control.running().items()
        if caller.may_use(name, config)
    ]
    return json_response({"running": entries})


def _entry(model: ModelConfig, state: ModelState) -> dict[str, str | int]:
    return {
        "model": model.id,
        "state": state.value,
        "cmd": model.cmd,
        "proxy": model.proxy,
        "ttl": model.ttl_s,
        "name": model.name,
        "description": model.description,
    }
