"""The access log: one line for each request, when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from swapd.http.client_address import TrustedProxies
from swapd.http.errors import header
from swapd.observe.logger import Level, Logger
from swapd.observe.text import escape_control

if TYPE_CHECKING:
    from swapd.config import Config
    from swapd.http.record import RequestRecord
    from swapd.http.server.asgi import Scope

_QUOTES: Final = 4
"""In a line nobody has put one into."""

DEFAULT_SKIP: Final = ("/wol-health", "/api/performance", "/metrics", "/health", "/api/events", "/ui/")
"""Paths that begin like this are asked for all the time and would drown the rest."""


class AccessLog:
    """Writes the line, and decides which requests get none. Costs a few microseconds a request.

    Until `apply` is called, the defaults of the configuration hold.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self.proxies = TrustedProxies()
        """Whose word counts for where a request came from."""
        self._skip: tuple[str, ...] = DEFAULT_SKIP
        self._enabled = True

    def apply(self, config: Config) -> None:
        """From the next request on do as this configuration says."""
        self._enabled = config.access_log.enabled
        self._skip = config.access_log.skip
        self.proxies = TrustedProxies(config.trusted_proxies)

    def write(self, scope: Scope, record: RequestRecord, duration_s: float) -> None:
        """Log that the request of `scope` was answered as `record` says, `duration_s` after it arrived.

        A handler that sent nothing counts as 200, an upgraded connection as 101 (which its handler records).
        A client behind a unix socket has no address: it is called "unix".
        """
        path = scope["path"]
        if not self._enabled or path.startswith(self._skip) or not self._log.enabled(Level.INFO):
            return
        ip = self._client_ip(scope, record) or "unix"
        agent = header(scope, b"user-agent").decode("utf-8", "backslashreplace")
        told = f'{_protocol(scope["http_version"])}" {record.status or 200} {record.bytes_sent}'
        end = duration_text(duration_s)
        method = scope.get("method", "GET")
        line = f'Request {ip} "{method} {path} {told} "{agent}" {end}'
        if line.count('"') != _QUOTES or not line.isprintable():
            path, agent = _quotable(path), _quotable(agent)
            line = f'Request {escape_control(ip)} "{method} {path} {told} "{agent}" {end}'
        self._log.info(line, event="request.done")

    def _client_ip(self, scope: Scope, record: RequestRecord) -> str:
        if record.request is not None:
            return record.request.client
        client = scope["client"]
        return self.proxies.client_ip(client[0] if client else "", scope["headers"])


def _protocol(version: str) -> str:
    """`1.1` → `HTTP/1.1`, `2` → `HTTP/2.0`."""
    if version == "1.1":
        return "HTTP/1.1"
    return f"HTTP/{version}" if "." in version else f"HTTP/{version}.0"


def _quotable(text: str) -> str:
    """`text` for between double quotes: it can end neither the quotation nor the line."""
    text = escape_control(text)
    return text.replace('"', "\\x22") if '"' in text else text


def duration_text(seconds: float) -> str:
    """`87µs`, `12.4ms`, `3.21s`, `2m5.3s`, `2h2m5s`: about three digits, in the unit that suits."""
    if seconds < 0.0009995:
        return f"{round(seconds * 1e6)}µs"
    if seconds < 0.09995:
        return f"{seconds * 1e3:.3g}ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 59.995:
        return f"{seconds:.2f}s"
    minutes, tenths = divmod(round(seconds * 10), 600)
    if minutes < 60:
        return f"{minutes}m{tenths / 10:.1f}s"
    minutes, whole = divmod(round(seconds), 60)
    return f"{minutes // 60}h{minutes % 60}m{whole}s"
