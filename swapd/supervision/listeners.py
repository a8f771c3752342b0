"""From `--listen` values to sockets that listen.

    host:port  :port  [v6]:port      TCP; `:port` means all interfaces, IPv4 and IPv6
    unix:/path[,mode=0660]           a unix socket
    fd://N                           a listening socket inherited as descriptor N
    systemd                          all sockets passed by the service manager, sd_listen_fds(3)

A value that cannot be understood is a `ListenSyntaxError` (the operator's command line is wrong); a socket
that cannot be had is a `ListenError`.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from swapd.supervision.activation import passed_descriptors
from swapd.supervision.port_holder import find_port_holder

BACKLOG: Final = 2048
DEFAULT_UNIX_MODE: Final = 0o660


class ListenError(Exception):
    """A socket could not be had. `str()` says what and why; `hint` what to do, or is empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ListenSyntaxError(ListenError):
    """A `--listen` value that is none of the known forms."""


@frozen
class TcpAddress:
    """`host` is a name or address; "" stands for all interfaces."""

    host: str
    port: int


@frozen
class UnixAddress:
    path: str
    mode: int


@frozen
class InheritedSocket:
    fd: int


@frozen
class PassedSockets:
    """All sockets that the service manager passes."""


ListenAddress = TcpAddress | UnixAddress | InheritedSocket | PassedSockets


@frozen
class Listener:
    """One listening, non-blocking socket. Whoever has the listener owns the socket."""

    sock: socket.socket = field(eq=False, repr=False)
    place: str
    """`127.0.0.1:8080`, `unix:/run/swapd.sock`: what to show and, with a scheme in front, what to open."""
    local_only: bool
    """Only this machine can reach it."""
    all_interfaces: bool = False
    unlink: str | None = None
    """A unix socket's path that we made and therefore remove."""

    def url(self, scheme: str) -> str:
        """Something to click on where there is one: unix sockets have no URL of their own."""
        return self.place if self.place.startswith("unix:") else f"{scheme}://{self.place}"

    def close(self) -> None:
        self.sock.close()
        if self.unlink is not None:
            Path(self.unlink).unlink(missing_ok=True)


def parse_listen(value: str) -> ListenAddress:
    """Understand one `--listen` value, or raise `ListenSyntaxError`."""
    if value == "systemd":
        return PassedSockets()
    if value.startswith("fd://"):
        return InheritedSocket(_parse_number(value, value.removeprefix("fd://"), 0, 1_048_576))
    if value.startswith("unix:"):
        return _parse_unix(value)
    match = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[^:]*)", value)
    if match is None:
        raise ListenSyntaxError(
            f"cannot understand the listen address {value!r}",
            "write host:port, :port, [v6]:port, unix:/path, fd://N or systemd",
        )
    host = match["host"] if match["v6"] is None else _checked_v6(value, match["v6"])
    return TcpAddress(host, _parse_number(value, match["port"], 0, 65_535))


def _parse_number(value: str, digits: str, lowest: int, highest: int) -> int:
    if digits.isascii() and digits.isdigit() and lowest <= int(digits) <= highest:
        return int(digits)
    raise ListenSyntaxError(
        f"cannot understand the listen address {value!r}: {digits!r} is not a number "
        f"from {lowest} to {highest}"
    )


def _checked_v6(value: str, host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError as error:
        raise ListenSyntaxError(f"cannot understand the listen address {value!r}: {error}") from None


def _parse_unix(value: str) -> UnixAddress:
    path, comma, option = value.removeprefix("unix:").partition(",")
    path = path.removeprefix("//")  # unix:///path, as in a URL
    if not path.startswith("/"):
        raise ListenSyntaxError(
            f"cannot understand the listen address {value!r}: the path must be absolute",
            "write unix:/path or unix:/path,mode=0660",
        )
    if not comma:
        return UnixAddress(path, DEFAULT_UNIX_MODE)
    if re.fullmatch(r"mode=[0-7]{3,4}", option) is None:
        raise ListenSyntaxError(
            f"cannot understand the listen address {value!r}: {option!r} is no option of a unix socket",
            "write unix:/path,mode=0660 with the mode in octal digits",
        )
    return UnixAddress(path, int(option.removeprefix("mode="), 8))


def bind_all(addresses: Iterable[ListenAddress], environ: Mapping[str, str] = os.environ) -> list[Listener]:
    """Listen on all of `addresses`, or on none: when one fails, those before it are closed again.

    Raises `ListenError`. The sockets are non-blocking and not inherited by child processes.
    """
    listeners: list[Listener] = []
    try:
        for address in addresses:
            match address:
                case TcpAddress():
                    listeners += _bind_tcp(address)
                case UnixAddress():
                    listeners.append(_bind_unix(address))
                case InheritedSocket(fd):
                    listeners.append(_adopt(fd))
                case PassedSockets():
                    listeners += [_adopt(fd) for fd in _passed_sockets(environ)]
    except BaseException:
        close_all(listeners)
        raise
    return listeners


def close_all(listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        listener.close()


def _bind_tcp(address: TcpAddress) -> list[Listener]:
    if not address.host:
        return [_bind_all_interfaces(address.port)]
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(
            f"cannot listen on {_place(address.host, address.port)}: {error.strerror}"
        ) from None
    listeners: list[Listener] = []
    port = address.port
    for family, sockaddr in dict.fromkeys((entry[0], entry[4]) for entry in found):
        try:
            listener = _listen_tcp(family, (str(sockaddr[0]), port, *sockaddr[2:]))
        except OSError as error:
            # `localhost` often names ::1 on machines that have no IPv6: one of its addresses is enough.
            if listeners and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue
            close_all(listeners)
            raise _bind_error(str(sockaddr[0]), port, error) from None
        listeners.append(listener)
        port = listener.sock.getsockname()[1]  # port 0 is chosen once and means the same for all addresses
    return listeners


def _bind_all_interfaces(port: int) -> Listener:
    if socket.has_dualstack_ipv6():
        try:
            return _listen_tcp(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise _bind_error("", port, error) from None
    try:
        return _listen_tcp(socket.AF_INET, ("0.0.0.0", port))
    except OSError as error:
        raise _bind_error("", port, error) from None


def _listen_tcp(family: int, sockaddr: tuple[str | int, ...]) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it; a small answer must not wait for the acknowledgement of the last.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if sockaddr[0] == "::" else 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        return _describe(sock)
    except BaseException:
        sock.close()
        raise


def _bind_error(host: str, port: int, error: OSError) -> ListenError:
    message = f"cannot listen on {_place(host, port)}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        holder = find_port_holder(port)
        if holder is not None:
            return ListenError(
                f"{message} by {holder}", "stop that process, or choose another --listen address"
            )
        return ListenError(message, "stop what listens there, or choose another --listen address")
    if error.errno == errno.EACCES and port < 1024:
        return ListenError(message, "ports below 1024 need privileges; choose a higher one with --listen")
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(message, "this machine has no such address; --listen :PORT takes all it has")
    return ListenError(message)


def _bind_unix(address: UnixAddress) -> Listener:
    path = Path(address.path)
    _remove_stale_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must hold from the first moment on: the socket is born closed to all, then opened.
    old_umask = os.umask(0o777)
    try:
        sock.bind(address.path)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on unix:{address.path}: {error.strerror or error}") from None
    finally:
        os.umask(old_umask)
    path.chmod(address.mode)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return Listener(sock, f"unix:{address.path}", local_only=True, unlink=address.path)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that a daemon left behind when it was killed; refuse to touch anything else."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ListenError(f"cannot listen on unix:{path}: there is a file that is not a socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on unix:{path}: {error.strerror}") from None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass  # something is there, busy or not ours
    raise ListenError(
        f"cannot listen on unix:{path}: another process listens there",
        "stop that process, or choose another --listen address",
    )


def _adopt(fd: int) -> Listener:
    """Take over a socket that was opened for us."""
    try:
        sock = socket.socket(fileno=fd)
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"cannot listen on descriptor {fd}: {error.strerror}") from None
    if not listening:
        sock.detach()  # not ours to close
        raise ListenError(f"cannot listen on descriptor {fd}: it is not a listening socket")
    os.set_inheritable(fd, False)
    sock.setblocking(False)
    return _describe(sock)


def _passed_sockets(environ: Mapping[str, str]) -> tuple[int, ...]:
    passed = passed_descriptors(environ)
    if not passed:
        raise ListenError(
            "cannot listen on systemd's sockets: none were passed to this process",
            "start swapd from a .socket unit, or give --listen an address",
        )
    return passed


def _describe(sock: socket.socket) -> Listener:
    if sock.family == socket.AF_UNIX:
        return Listener(sock, f"unix:{sock.getsockname()}", local_only=True)
    host, port = sock.getsockname()[:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return Listener(sock, _place("127.0.0.1", port), local_only=False, all_interfaces=True)
    return Listener(sock, _place(host, port), local_only=address.is_loopback)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
