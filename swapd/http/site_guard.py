"""Keeping other people's web pages from using a swapd that asks nobody for a key, or somebody's session.

A browser sends requests on behalf of any page that is open in it, and tells where they come from: `Origin`
and `Sec-Fetch-Site` (W3C Fetch Metadata). Programs send neither, and pass; a session belongs to a browser,
which sends one of them with every write. Inference is not looked at: its routes are meant to be used by
pages, and what they cost is time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from swapd.http.credentials import shown_session
from swapd.http.errors import Rejected, header

if TYPE_CHECKING:
    from swapd.config import Config
    from swapd.http.server.asgi import Scope

_WRITES: Final = frozenset({"POST", "PUT", "DELETE", "PATCH"})
_INFERENCE: Final = frozenset({"/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"})

SIGN_IN: Final = "/api/session"
"""Looked at whether a key is needed or not: no foreign page may sign its visitors in."""


class SiteGuard:
    """Looks at requests for the control API and for `/upstream/` that show no key, since none are configured
    or a session stands for it.

    `loopback_only` says that the daemon listens on loopback addresses and nowhere else.
    """

    def __init__(self, config: Callable[[], Config], *, loopback_only: bool = False) -> None:
        self._config = config
        self._loopback_only = loopback_only

    def check(self, scope: Scope) -> None:
        """Raises `Rejected` for a request that a foreign page has made, or may have."""
        config = self._config()
        path: str = scope["path"]
        by_session = False
        if config.api_keys:
            by_session = shown_session(scope["headers"]) is not None
            if not by_session and path != SIGN_IN:
                return
        elif self._loopback_only and (path == "/ui" or path.startswith(("/api/", "/ui/"))):
            _check_host(header(scope, b"host"), config.ui.allowed_hosts)
        method = scope.get("method", "GET")
        if method in _WRITES:
            if path.startswith("/api/") and path not in _INFERENCE:
                _check_origin(scope, must_tell=by_session)
        elif path == "/unload" or path.startswith("/upstream/"):
            _check_fetch(scope)


def _check_host(host: bytes, allowed: tuple[str, ...]) -> None:
    """A name that is neither ours nor this machine's: a page may have pointed it here (DNS rebinding)."""
    name = _without_port(host.decode("latin-1")).lower()
    if name and not _is_loopback(name) and name not in {each.lower() for each in allowed}:
        raise Rejected.with_code(
            "host_not_allowed", f"the host {name} is not allowed here; add it to ui.allowedHosts"
        )


def _check_origin(scope: Scope, *, must_tell: bool) -> None:
    site, origin = header(scope, b"sec-fetch-site"), header(scope, b"origin")
    if site == b"same-origin" or not (site or origin or must_tell):
        return
    if origin and origin.partition(b"://")[2].lower() == header(scope, b"host").lower():
        return
    raise Rejected.with_code("cross_site", "refused, because a page of another site has sent this")


def _check_fetch(scope: Scope) -> None:
    is_link = header(scope, b"sec-fetch-mode") == b"navigate"
    if header(scope, b"sec-fetch-site") == b"cross-site" and not is_link:
        raise Rejected.with_code("cross_site", "refused, because a page of another site has sent this")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
