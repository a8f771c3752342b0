"""`/api/profiles`: the sets of pinned names, and which of them is in force."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import STRING, array, described, json, mapping, named, nullable, obj
from swapd.http.api.resource import json_response, short_body
from swapd.http.errors import Rejected
from swapd.http.proxy.profiles import UnknownProfile

_MISSING: Final = object()


_PROFILES: Final = obj(
    {
        "active": nullable(STRING),
        "profiles": array(
            named("Profile", obj({"id": STRING, "description": STRING, "pins": mapping(STRING)}))
        ),
    }
)


@described("The profiles, and which one is active", json(_PROFILES))
async def list_profiles(control: Control, request: Request) -> Response:
    profiles = control.config().profiles
    listed = [
        {"id": id, "description": profiles[id].description, "pins": dict(profiles[id].pins)}
        for id in sorted(profiles)
    ]
    return json_response({"active": control.profiles.active, "profiles": listed})


@described(
    "Switch to a profile, or to none",
    json(obj({"active": nullable(STRING)})),
    errors=(400, 404, 413),
    body=json(obj({"name": nullable(STRING)})),
)
async def activate(control: Control, request: Request) -> Response:
    """`PUT /api/profiles/active`: `{"name": "id"}`; null or "" for none."""
    name = _wanted(await short_body(request))
    try:
        control.profiles.activate(name or None)
    except UnknownProfile:
        raise Rejected.with_code("not_found", f'profile "{name}" not found') from None
    return json_response({"active": control.profiles.active})


def _wanted(body: bytes) -> str | None:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise Rejected.with_code("bad_request", "invalid profile request")
    name = value.get("name", _MISSING)
    if name is _MISSING:
        raise Rejected.with_code("bad_request", "profile name is required")
    if name is not None and not isinstance(name, str):
        raise Rejected.with_code("bad_request", "profile name must be a string or null")
    return name
