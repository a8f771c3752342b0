"""`/api/version`: which build answers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import STRING, described, json, obj
from swapd.http.api.resource import json_response


@described("Version and commit", json(obj(dict.fromkeys(("build_date", "commit", "version"), STRING))))
async def version(control: Control, request: Request) -> Response:
    """The version in plain numbers: clients of Ollama, which have the same path, compare them."""
    build = control.build
    return json_response({"build_date": build.date, "commit": build.commit, "version": build.release})
