"""`/api/captures/{id}`: a request and its response as they were, secrets masked."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import (
    BOOLEAN,
    FLAG,
    INTEGER,
    STRING,
    STRINGS,
    array,
    described,
    json,
    mapping,
    named,
    nullable,
    obj,
)
from swapd.http.errors import Rejected
from swapd.http.paths import parameter
from swapd.observe.captures import Capture, headers_of

_CAPTURE: Final = named(
    "Capture",
    obj(
        {
            "id": INTEGER,
            "req_path": STRING,
            **dict.fromkeys(("req_headers", "resp_headers"), nullable(mapping(STRING))),
            **dict.fromkeys(("req_body", "resp_body"), nullable(STRING)),
        },
        {
            "req_query": STRING,
            **dict.fromkeys(("req_header_values", "resp_header_values"), mapping(STRINGS)),
            "truncated": BOOLEAN,
            "resp_frames": array(array(INTEGER)),
        },
    ),
)


@described("A request and its answer", json(_CAPTURE), errors=(400, 404), query={"bodies": FLAG})
async def capture(control: Control, request: Request) -> Response:
    """`GET /api/captures/{id}`; with `?bodies=0` without what makes it large."""
    id, found = _found(control, request)
    bodies = request.query_params.get("bodies") != "0"
    return Response(msgspec.json.encode(found.as_json(id, bodies=bodies)), media_type="application/json")


@described("One body of these, as it was", {"*/*": {}}, errors=(400, 404))
async def part(control: Control, request: Request) -> Response:
    """`GET /api/captures/{id}/req_body` and `…/resp_body`: one body as it was, for a program or a player."""
    _, found = _found(control, request)
    name = parameter(request.path_params["part"])
    bodies = {
        "req_body": (found.req_body, found.req_headers),
        "resp_body": (found.resp_body, found.resp_headers),
    }
    body, headers = bodies.get(name, (None, b""))
    if body is None:
        raise Rejected.with_code("not_found", "capture not found")
    kind = headers_of(headers).get("Content-Type", ["application/octet-stream"])[0]
    # Whatever it is, the browser must not run it in our name.
    safe = {"content-type": kind, "x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
    return Response(body, headers=safe)


def _found(control: Control, request: Request) -> tuple[int, Capture]:
    text = parameter(request.path_params["id"])
    try:
        id = int(text) if len(text) < 20 else -1
    except ValueError:
        raise Rejected.with_code("bad_request", "invalid capture ID") from None
    found = control.telemetry.captures.get(id)
    if found is None:
        raise Rejected.with_code("not_found", "capture not found")
    return id, found
