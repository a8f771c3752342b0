"""Opening a TCP connection to an upstream.

Nearly every upstream is on this machine, where a connection is made or refused at once. So addresses and
`localhost` go straight to the operating system, without the name service and its threads; real names are left
to trio, which tries their addresses side by side.

`localhost` is two addresses, and a server may listen on only one of them. Both are tried, the one that
answered last time first. A refusal on this machine takes microseconds, so the wrong guess costs nothing worth
noticing.
"""

from __future__ import annotations

import errno
import os
import socket
from math import inf
from typing import Any

import trio
from attrs import define, field
from msgspec import Struct

from swapd.http.upstream.errors import ConnectFailed, ConnectTimedOut

NAME_CACHE_S = 30.0
"""How long the address that answered for a name is tried first, before the name service is asked again."""

_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR})


class _Endpoint(Struct, frozen=True):
    """One socket address to try."""

    family: socket.AddressFamily
    address: tuple[Any, ...]

    def __str__(self) -> str:
        host, port = self.address[:2]
        return f"[{host}]:{port}" if self.family is socket.AF_INET6 else f"{host}:{port}"


@define(eq=False)
class Dialer:
    """Makes connections to one host and port.

    The only state is `_answered`, the endpoint that accepted the last connection, and when; `dial` writes it.
    """

    host: str
    port: int
    keepalive_s: float
    """Seconds of silence after which the kernel probes whether the other side is still there; 0 = never."""
    _known: tuple[_Endpoint, ...] = field(init=False)
    _answered: _Endpoint | None = field(init=False, default=None)
    _answered_at: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        self._known = _endpoints_without_lookup(self.host, self.port)

    async def dial(self, connect_s: float) -> socket.socket:
        """A connected non-blocking socket, with `TCP_NODELAY` set, within `connect_s` seconds (0 = any time).

        Raises `ConnectFailed` or its subclass `ConnectTimedOut`. Cancelling it closes what it has opened.
        """
        with trio.CancelScope(deadline=trio.current_time() + (connect_s or inf)) as scope:
            sock = await self._dial()
        if scope.cancelled_caught:
            raise ConnectTimedOut(f"{self.host}:{self.port} did not answer within {connect_s:g} s")
        self._configure(sock)
        return sock

    async def _dial(self) -> socket.socket:
        failures: list[str] = []
        for endpoint in self._candidates():
            try:
                sock = await _connect(endpoint)
            except OSError as error:
                failures.append(f"{endpoint}: {_reason(error)}")
            else:
                self._answered, self._answered_at = endpoint, trio.current_time()
                return sock
        if self._known:
            raise ConnectFailed("; ".join(failures))
        return await self._dial_by_name()

    def _candidates(self) -> list[_Endpoint]:
        answered = self._answered
        if self._known:
            return sorted(self._known, key=lambda endpoint: endpoint != answered)
        if answered is not None and trio.current_time() - self._answered_at < NAME_CACHE_S:
            return [answered]
        return []

    async def _dial_by_name(self) -> socket.socket:
        self._answered = None
        try:
            stream = await trio.open_tcp_stream(self.host, self.port)
        except OSError as error:
            raise ConnectFailed(f"{self.host}:{self.port}: {_reason(error)}") from error
        family = stream.socket.family
        sock = socket.socket(family, socket.SOCK_STREAM, fileno=stream.socket.detach())
        sock.setblocking(False)
        self._answered = _Endpoint(family, sock.getpeername())
        self._answered_at = trio.current_time()
        return sock

    def _configure(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.keepalive_s > 0:
            seconds = max(1, round(self.keepalive_s))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # macOS calls the first of the two by another name and lacks it in older Pythons.
            for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
                if hasattr(socket, option):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)


def _endpoints_without_lookup(host: str, port: int) -> tuple[_Endpoint, ...]:
    if host.lower().rstrip(".") == "localhost":
        v4 = _Endpoint(socket.AF_INET, ("127.0.0.1", port))
        v6 = _Endpoint(socket.AF_INET6, ("::1", port, 0, 0))
        return (v4, v6)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return ()
    return tuple(_Endpoint(family, address) for family, _, _, _, address in found)


async def _connect(endpoint: _Endpoint) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        error = sock.connect_ex(endpoint.address)
        if error in _IN_PROGRESS:
            await trio.lowlevel.wait_writable(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        # On loopback a connect to a port where nobody listens can meet itself: TCP's simultaneous open, when
        # the kernel happens to pick that very port as the source. It would talk to itself for ever.
        if sock.getsockname() == sock.getpeername():
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(error: OSError) -> str:
    causes = getattr(error.__cause__, "exceptions", ())
    for cause in causes:
        if isinstance(cause, OSError):
            return _reason(cause)
    return (error.strerror or str(error)).lower()
