"""`/health`, `/wol-health`: the daemon is alive. Whether models are loaded does not matter."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import TEXT, described
from swapd.http.api.resource import text_response


@described("Whether swapd is there", TEXT)
async def health(control: Control, request: Request) -> Response:
    return text_response("OK")
