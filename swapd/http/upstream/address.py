"""Where an upstream is: its base URL, taken apart once and then only added to."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from msgspec import Struct

from swapd.http.upstream.errors import UnsupportedURL

_KEEP = "/%:@!$&'()*+,;=-._~?"
"""Left alone when a configured path or query is made fit for the wire; an escape written there stays one."""


class BaseURL(Struct, frozen=True):
    """The base URL of an upstream (`proxy` in the configuration)."""

    host: str
    """Name or address, an IPv6 address without its brackets."""
    port: int
    authority: bytes
    """`host[:port]` as a `Host` header spells it."""
    path: bytes
    """Put in front of every request path; without a slash at its end, so often empty."""
    query: bytes
    """Put in front of every request's own query; without the question mark."""

    @classmethod
    def parse(cls, url: str) -> BaseURL:
        """Take `url` apart. Raises `UnsupportedURL` if it is no plain-http URL with a host."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UnsupportedURL(f"{url!r} is not a URL: {error}") from None
        if parts.scheme != "http":
            raise UnsupportedURL(
                f"{url!r} does not begin with http://, the only scheme spoken to upstreams here"
            )
        if not parts.hostname:
            raise UnsupportedURL(f"{url!r} names no host; expected http://host:port")
        host = parts.hostname
        spelled = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        return cls(
            host=host,
            port=80 if port is None else port,
            authority=(spelled if port is None else f"{spelled}:{port}").encode("ascii"),
            path=quote(parts.path, safe=_KEEP).rstrip("/").encode("ascii"),
            query=quote(parts.query, safe=_KEEP).encode("ascii"),
        )

    def target(self, path: bytes, query: bytes) -> bytes:
        """The request target for `path` (escaped, beginning with a slash) and `query` (without question
        mark).

        Base path and path meet at exactly one slash; the base query comes before the request's own.
        """
        target = self.path + path if self.path else path
        if self.query:
            return target + b"?" + self.query + (b"&" + query if query else b"")
        return target + b"?" + query if query else target

    def __str__(self) -> str:
        return self.authority.decode("ascii")
