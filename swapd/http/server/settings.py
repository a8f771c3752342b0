"""What a caller may choose about the server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen, validators

ErrorReport = Callable[[BaseException, Mapping[str, Any] | None], None]
"""Told of an exception that nobody handled, with the scope of the request if one was being served."""

_log = logging.getLogger("swapd.http.server")


def _log_error(error: BaseException, scope: Mapping[str, Any] | None) -> None:
    what = f"{scope.get('method', 'WebSocket')} {scope['path']}" if scope else "a connection"
    _log.error("unhandled error while serving %s", what, exc_info=error)


@frozen
class TLS:
    """PEM files for a TLS listener; one file may be both."""

    certificate: Path
    key: Path
    password: str | None = None


@frozen
class ServerSettings:
    """Limits and deadlines, with values that suit a daemon on a local network.

    A deadline of 0 means none. `keep_alive_s` is how long a connection may stay open with no request on it
    (also before its first one); `head_timeout_s` how long a request head may take from its first byte;
    `body_gap_s` how long a client may pause within a body while the app waits for it; `linger_s` how long a
    connection that was answered before its request had fully arrived is kept for the client to read the
    answer; `websocket_close_s` how long an app may go on after its WebSocket was closed by the client;
    `tls_handshake_s` is for the TLS handshake.

    `max_head_bytes` bounds a request's head (431 beyond it). `max_body_bytes` bounds a request's body, 0
    leaves that to the app (413 beyond it); a WebSocket message is bounded by `websocket_max_message` bytes.

    With `tls`, every listener speaks TLS, and HTTP/2 where a client asks for it by ALPN; only the unix socket
    at the path `plain_socket` does not. `report_error` must
    not raise; the default writes to the standard library's logger `swapd.http.server`.
    """

    keep_alive_s: float = field(default=120.0, validator=validators.ge(0))
    head_timeout_s: float = field(default=30.0, validator=validators.ge(0))
    body_gap_s: float = field(default=60.0, validator=validators.ge(0))
    linger_s: float = field(default=2.0, validator=validators.gt(0))
    websocket_close_s: float = field(default=5.0, validator=validators.gt(0))
    tls_handshake_s: float = field(default=10.0, validator=validators.gt(0))
    max_head_bytes: int = field(default=64 * 1024, validator=validators.ge(1024))
    max_body_bytes: int = field(default=0, validator=validators.ge(0))
    websocket_max_message: int = field(default=16 * 1024 * 1024, validator=validators.gt(0))
    tls: TLS | None = None
    plain_socket: str | None = None
    report_error: ErrorReport = _log_error
