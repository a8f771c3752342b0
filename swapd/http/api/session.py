"""`/api/session`: signing in with a key, for browsers, which then show a cookie instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import BOOLEAN, STRING, STRINGS, described, json, named, nullable, obj
from swapd.http.api.resource import Handler, json_response, short_body
from swapd.http.auth import Authentication, Caller, answer_late, caller_of, refuse
from swapd.http.credentials import SESSION_COOKIE
from swapd.http.errors import Rejected, header
from swapd.http.prefix import prefix_of
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send
from swapd.http.sessions import LIFETIME_S

_COOKIE: Final = SESSION_COOKIE.decode("ascii")
_NOT_STORED: Final = {"cache-control": "no-store"}


_SESSION: Final = named(
    "Session",
    obj(
        {
            "required": BOOLEAN,
            "authenticated": BOOLEAN,
            "name": nullable(STRING),
            "admin": BOOLEAN,
            "models": nullable(STRINGS),
        }
    ),
)


class _SignIn(msgspec.Struct):
    """The body of a sign-in. Without `remember` the cookie goes when the browser is closed."""

    key: str
    remember: bool | None = None


def handlers(auth: Authentication) -> Mapping[str, Handler]:
    """The methods of `/api/session`, none of which needs a key."""

    @described("Who one is", json(_SESSION), errors=(401,))
    async def show(control: Control, request: Request) -> Response:
        admitted = auth.admits(request.scope)
        await answer_late(request.scope)
        return json_response(_shown(control, caller_of(request.scope) if admitted else None), _NOT_STORED)

    @described(
        "Sign in: get a cookie for a key",
        json(_SESSION),
        errors=(400, 401, 413),
        body=json(obj({"key": STRING}, {"remember": nullable(BOOLEAN)})),
    )
    async def sign_in(control: Control, request: Request) -> Response | ASGIApp:
        wanted = _wanted(await short_body(request))
        if not control.config().api_keys:
            return json_response(_shown(control, Caller()), _NOT_STORED)
        begun = auth.sign_in(request.scope, wanted.key)
        if begun is None:
            return _refused
        caller, token = begun
        response = json_response(_shown(control, caller), _NOT_STORED)
        _set_cookie(response, request.scope, token, LIFETIME_S if wanted.remember else None)
        return response

    @described("Sign out", status=204)
    async def sign_out(control: Control, request: Request) -> Response:
        auth.sign_out(request.scope)
        response = Response(status_code=204, headers=_NOT_STORED)
        _set_cookie(response, request.scope, "", 0)
        return response

    return {"GET": show, "POST": sign_in, "DELETE": sign_out}


def _shown(control: Control, caller: Caller | None) -> dict[str, Any]:
    """What the page is told about whoever uses it; `models` null means all."""
    key = None if caller is None else caller.key
    return {
        "required": bool(control.config().api_keys),
        "authenticated": caller is not None,
        "name": None if key is None else key.name,
        "admin": caller is not None and caller.is_admin,
        "models": list(key.models) if key is not None and key.models else None,
    }


def _wanted(body: bytes) -> _SignIn:
    try:
        return msgspec.json.decode(body, type=_SignIn)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Rejected.with_code(
            "bad_request", 'expected {"key": "…"}, and if wanted "remember": true'
        ) from None


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:
    await refuse(scope, send, challenge=False)


def _set_cookie(response: Response, scope: Scope, token: str, max_age_s: int | None) -> None:
    """RFC 6265bis. Where no prefix is known the path is all of the host, as a proxy may show us below any."""
    response.set_cookie(
        _COOKIE,
        token,
        max_age=max_age_s,
        path=f"{prefix_of(scope)}/",
        secure=_is_secure(scope),
        httponly=True,
        samesite="strict",
    )


def _is_secure(scope: Scope) -> bool:
    # Whoever sends this header without a proxy in between makes a cookie of its own less useful, no more.
    forwarded = header(scope, b"x-forwarded-proto").partition(b",")[0].strip().lower()
    return scope.get("scheme") == "https" or forwarded == b"https"
