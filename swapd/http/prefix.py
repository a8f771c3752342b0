"""The path below which a reverse proxy shows swapd to browsers, such as `/llm`.

The pages themselves need not know it: their links are relative. It is for what the daemon says about its own
paths: the `Location` of redirects and the path of the sign-in cookie. It is known from `--base-path`, else
from the header `X-Forwarded-Prefix` of a proxy that is trusted.
"""

from __future__ import annotations

import re
from typing import Final

from swapd.http.client_address import TrustedProxies
from swapd.http.errors import header
from swapd.http.paths import raw_path
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send

PREFIX: Final = "swapd.prefix"
"""The key under which the scope of a request holds the prefix, where somebody may need it."""

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")  # RFC 3986 §3.3, no empty segment
_OURS: Final = frozenset(
    {"api", "ui", "v", "v1", "upstream", "logs", "running", "unload", "models", "metrics", "health", "ready"}
)


class NotAPrefix(ValueError):
    """The text cannot stand in front of our paths; says why."""


def parse_prefix(text: str) -> str:
    """`/x/y/` and `/x/y` → `/x/y`; `/` → "". Raises `NotAPrefix`."""
    path = text.rstrip("/")
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")) or (text and not text.startswith("/")):
        raise NotAPrefix(f"{text!r} is no path; write it like /llm or /home/llm")
    if path and path.split("/")[1] in _OURS:
        raise NotAPrefix(f"{text!r} begins like one of swapd's own paths; choose another, like /llm")
    return path


def prefix_of(scope: Scope) -> str:
    """What stands in front of our paths in the browser's address; mostly ""."""
    found: str = scope.get(PREFIX, "")
    return found


def forwarded_prefix(scope: Scope, proxies: TrustedProxies) -> str:
    """What a trusted proxy says it has taken away from the path; "" if it says nothing sensible."""
    said = header(scope, b"x-forwarded-prefix")
    client = scope["client"]
    if not said or not proxies.trusts(client[0] if client else ""):
        return ""
    try:
        return parse_prefix(said.decode("latin-1"))
    except NotAPrefix:
        return ""


class BelowPath:
    """An application that is found below `prefix` as well as where it was.

    A proxy may take the prefix away or leave it. Either way links that the application gives lead below it.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._raw = prefix.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, PREFIX: self._prefix, **self._inner(scope)}
        await self._app(scope, receive, send)

    def _inner(self, scope: Scope) -> dict[str, object]:
        raw = raw_path(scope)
        if raw == self._raw:
            return {"raw_path": b"/", "path": "/"}
        if not raw.startswith(self._raw + b"/"):
            return {}
        return {"raw_path": raw[len(self._raw) :], "path": scope["path"][len(self._prefix) :]}
