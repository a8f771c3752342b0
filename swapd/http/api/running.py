"""`/running`: the models that have a process now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.resource import json_response
from swapd.http.auth import caller_of
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from swapd.config import ModelConfig


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
