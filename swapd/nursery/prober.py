"""Is an upstream ready? One attempt: connect, `GET`, look at the status.

Made for being called forty times a second while a model loads: a bare socket and the parser that the
rest of swapd uses anyway, no client object, no name look-up for `localhost`, no connection kept. When to
try again is not decided here but in `swapd.nursery.readiness`.
"""

from __future__ import annotations

import enum
import errno
import ipaddress
import socket
import ssl
import struct
from typing import Protocol
from urllib.parse import quote, urlsplit

import httptools
import trio
from msgspec import Struct

_CONNECT_LOOPBACK_S = 0.5
_CONNECT_REMOTE_S = 5.0
_REST_S = 0.1
_REST_BYTES = 65536
_SAFE_IN_TARGET = "%/:?@!$&'()*+,;=[]~"
_LOOPBACK_NAMES = ("localhost", "localhost.")


class ProbeKind(enum.Enum):
    """What came of an attempt. The pace of the next ones starts anew when it changes."""

    READY = "ready"
    """Status 200."""
    REFUSED = "refused"
    """Nobody listens."""
    HUNG = "hung"
    """No connection, or no answer, in time."""
    BAD_STATUS = "bad status"
    """An answer with another status; redirects are not followed."""
    ERROR = "error"
    """Anything else: the connection broke, what came is not HTTP, the name is unknown."""


class ProbeResult(Struct, frozen=True):
    kind: ProbeKind
    detail: str = ""
    """For people: `connection refused`, `status 503`."""


class Prober(Protocol):
    async def probe(self, url: str, timeout_s: float) -> ProbeResult:
        """One attempt of at most `timeout_s` seconds. Raises nothing; may be cancelled."""


def check_url(base_url: str, endpoint: str) -> str | None:
    """The URL to probe: the upstream's address and its path, then the endpoint. None for the endpoint
    `none`: such a model counts as ready when it runs."""
    endpoint = endpoint.strip()
    if endpoint == "none":
        return None
    return base_url.rstrip("/") + "/" + endpoint.lstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HttpProber:
    """Probes over HTTP/1.1, on a connection of its own that is closed after each attempt."""

    def __init__(self) -> None:
        self._tls: ssl.SSLContext | None = None

    async def probe(self, url: str, timeout_s: float) -> ProbeResult:
        try:
            target = _Target.parse(url)
        except ValueError as error:
            return ProbeResult(ProbeKind.ERROR, f"bad URL {url!r}: {error}")
        try:
            return await self._probe(target, timeout_s)
        except ConnectionRefusedError:
            return ProbeResult(ProbeKind.REFUSED, "connection refused")
        except trio.BrokenResourceError as error:
            return ProbeResult(ProbeKind.ERROR, _reason(error.__cause__) or "the connection broke")
        except OSError as error:
            return ProbeResult(ProbeKind.ERROR, _reason(error))

    async def _probe(self, target: _Target, timeout_s: float) -> ProbeResult:
        deadline = trio.current_time() + timeout_s
        connect_s = min(timeout_s, _CONNECT_LOOPBACK_S if is_loopback(target.host) else _CONNECT_REMOTE_S)
        stream: trio.abc.Stream | None = None
        with trio.move_on_after(connect_s):
            stream = await _connect(target.host, target.port)
        if stream is None:
            return ProbeResult(ProbeKind.HUNG, f"no connection within {connect_s:g} s")
        if target.tls:
            stream = trio.SSLStream(
                stream, self._tls_context(), server_hostname=target.host, https_compatible=True
            )
        result = ProbeResult(ProbeKind.HUNG, f"no answer within {timeout_s:g} s")
        try:
            with trio.move_on_at(deadline):
                await stream.send_all(target.request)
                result = await _read_answer(stream)
        finally:
            await trio.aclose_forcefully(stream)
        return result

    def _tls_context(self) -> ssl.SSLContext:
        # Reading the certificates of the system takes many milliseconds: once, and only if needed.
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _Target(Struct, frozen=True):
    host: str
    port: int
    tls: bool
    request: bytes

    @classmethod
    def parse(cls, url: str) -> _Target:
        """Raises `ValueError` for what is no http or https URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http or https URL")
        tls = parts.scheme == "https"
        path = quote(parts.path or "/", safe=_SAFE_IN_TARGET)
        query = f"?{quote(parts.query, safe=_SAFE_IN_TARGET)}" if parts.query else ""
        authority = parts.netloc.rpartition("@")[2].encode("idna").decode()
        request = (
            f"GET {path}{query} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: swapd\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        )
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, request.encode())


async def _connect(host: str, port: int) -> trio.SocketStream:
    """Connect to the first address that accepts; raise the error of the first one if none does."""
    first_error: OSError | None = None
    for family, address in await _addresses(host, port):
        connection = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await connection.connect(address)
            if connection.getsockname() == connection.getpeername():
                _drop_own_echo(connection)
                raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
            return trio.SocketStream(connection)
        except OSError as error:
            connection.close()
            first_error = first_error or error
        except BaseException:
            connection.close()
            raise
    raise first_error or OSError(f"{host} has no address")


def _drop_own_echo(connection: trio.socket.SocketType) -> None:
    """Close a connection that goes from a port to itself.

    When nobody listens on a port of the range from which the kernel takes ports for outgoing connections,
    one attempt in some ten thousand is given that very port, and TCP (RFC 9293 §3.5, simultaneous open)
    connects it to itself. The reset makes the port free at once: the server we wait for needs it.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Addresses to try, in order. Only a name that is not `localhost` needs the resolver (a thread)."""
    if host.lower() in _LOOPBACK_NAMES:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]


class _Answer:
    """Callbacks of the parser: how far the answer has come."""

    def __init__(self) -> None:
        self.has_head = False
        self.complete = False

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_message_complete(self) -> None:
        self.complete = True


async def _read_answer(stream: trio.abc.Stream) -> ProbeResult:
    """The status of the answer.

    The rest is read too, for a moment: a server that finds the connection closed while it still writes
    would complain in its log about each of our probes.
    """
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    received = 0
    with trio.CancelScope() as patience:
        while not answer.complete and received < _REST_BYTES:
            chunk = await stream.receive_some(_REST_BYTES)
            if not chunk:
                break
            received += len(chunk)
            try:
                parser.feed_data(chunk)
            except httptools.HttpParserUpgrade:
                break
            except httptools.HttpParserError:
                if answer.has_head:
                    break
                return ProbeResult(ProbeKind.ERROR, "the answer is not HTTP")
            if answer.has_head and parser.get_status_code() < 200:  # 100, 103: the real one follows
                answer.has_head = answer.complete = False
            elif answer.has_head:
                patience.deadline = min(patience.deadline, trio.current_time() + _REST_S)
    if not answer.has_head:
        return ProbeResult(ProbeKind.ERROR, "connection closed without an answer")
    status = parser.get_status_code()
    if status == 200:
        return ProbeResult(ProbeKind.READY, "status 200")
    redirect = " (redirects are not followed)" if 300 <= status < 400 else ""
    return ProbeResult(ProbeKind.BAD_STATUS, f"status {status}{redirect}")


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if error else ""
