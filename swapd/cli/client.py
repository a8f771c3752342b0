"""The daemon as client commands see it: where it is, how to ask it, and what its refusals mean to a shell.

`http.client` of the standard library speaks to it: a command is to answer within 150 ms, of which a larger
library would take most for being imported. It blocks, which suits commands that do one thing; Ctrl-C ends it
as it ends any Python program.

The daemon is looked for at `--url`, else at the admin sockets that may be there, else at the default address.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from urllib.parse import quote, urlencode, urlsplit

from swapd.cli.errors import CliError, ExitCode, UsageError
from swapd.version import BUILD

if TYPE_CHECKING:
    import http.client
    import ssl

DEFAULT_URL: Final = "http://127.0.0.1:8080"
SOCKET_NAME: Final = "swapd.sock"
CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 30.0
"""For answers that need no model to start or stop."""

_FAILED_FOR_NOW: Final = frozenset({429, 503, 504})
_FAILED_FOR_GOOD: Final = frozenset({"crash_looping", "insufficient_memory"})
"""Error codes of answers that say "later" to a client of the API, but mean failure to somebody who waits."""


class ApiError(CliError):
    """The daemon has answered, but not with what was asked for.

    `status` is HTTP's, `error_code` the one in the answer (empty if there is none), `why` its message.
    """

    def __init__(self, message: str, status: int, error_code: str, why: str) -> None:
        super().__init__(message, _hint(status, error_code), _exit_code(status, error_code))
        self.status = status
        self.error_code = error_code
        self.why = why


class Address(NamedTuple):
    """Where a daemon listens. `socket_path` is that of a unix socket, in which case `host` means nothing."""

    host: str = "localhost"
    port: int = 80
    prefix: str = ""
    """What stands before all paths, without a slash at its end."""
    tls: bool = False
    socket_path: str = ""

    @property
    def url(self) -> str:
        """For people to read."""
        if self.socket_path:
            return f"unix://{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.prefix}"


class Trust(NamedTuple):
    """How a daemon's TLS certificate is checked: not at all if `insecure`, else against the system's
    authorities or those in `ca_file`."""

    insecure: bool = False
    ca_file: str | None = None


def parse_url(url: str) -> Address:
    """Understand `http://host[:port][/prefix]`, `https://…` or `unix:///path`. Raises `UsageError`."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:").removeprefix("//")
        if path.startswith("/"):
            return Address(socket_path=path)
        raise UsageError(f"wrong usage: {url!r} is no URL of a swapd", "write unix:///path with a whole path")
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise UsageError(
            f"wrong usage: {url!r} is no URL of a swapd", "write http://host:port, https://… or unix:///path"
        )
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"), tls)


def admin_sockets(environ: Mapping[str, str]) -> list[str]:
    """Where an admin socket may be, the likeliest first.

    A unit of systemd has a runtime directory of its own below that of its user.
    """
    places = [entry for entry in environ.get("RUNTIME_DIRECTORY", "").split(":") if entry]
    if user := environ.get("XDG_RUNTIME_DIR"):
        places += [user, f"{user}/swapd"]
    places.append("/run/swapd")
    return [f"{place}/{SOCKET_NAME}" for place in dict.fromkeys(places)]


def find_daemon(url: str | None, environ: Mapping[str, str]) -> Address:
    """Where the daemon is: `url` if given, else an admin socket that accepts us, else the default address."""
    if url:
        return parse_url(url)
    for path in admin_sockets(environ):
        if _accepts(path):
            return Address(socket_path=path)
    return parse_url(DEFAULT_URL)


def _accepts(path: str) -> bool:
    """Whether somebody listens there and lets us in: a socket stays behind when its daemon is killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def segment(text: str) -> str:
    """`text` as one segment of a path: model ids may hold slashes."""
    return quote(text, safe="")


class Client:
    """Asks one daemon; each request has a connection of its own. Holds nothing that needs closing.

    The methods raise `CliError` with the exit code that fits: 69 when nothing answers, 77 when the key is
    refused, 75 when it took too long or the daemon says "later"; `ApiError` for all answers that are errors.
    `timeout_s` is how long to wait for the next bytes; None: for ever.
    """

    def __init__(self, address: Address, key: str | None = None, trust: Trust = Trust()) -> None:  # noqa: B008
        self.address = address
        self._trust = trust
        self._headers = {
            "Accept": "application/json",
            "User-Agent": f"swapd/{BUILD.version}",
            "X-Session-ID": f"swapd-cli-{os.getpid()}",
        }
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON that stands there."""
        return self._json("GET", path, query)

    def post(
        self,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
        accepting: Collection[int] = (),
    ) -> Any:
        """`accepting` are statuses of errors whose body is wanted all the same."""
        return self._json("POST", path, query, body, timeout_s, accepting)

    def put(self, path: str, body: Any = None) -> Any:
        return self._json("PUT", path, None, body)

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
        accept: str = "application/json",
        accepting: Collection[int] = (),
    ) -> Answer:
        """Send a request and wait for the head of its answer. To be used `with`; raises for error answers."""
        answer = self._send(method, path, query, body, timeout_s, accept)
        if answer.status < 400 or answer.status in accepting:
            return answer
        with answer:
            raise self._error(path, answer)

    def status_of(self, path: str, *, timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[int, bytes]:
        """Status and body of what stands there, whatever they are."""
        with self._send("GET", path, None, None, timeout_s, "application/json") as answer:
            return answer.status, answer.read()

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
        accepting: Collection[int] = (),
    ) -> Any:
        with self.open(method, path, query, body, timeout_s=timeout_s, accepting=accepting) as answer:
            text = answer.read()
        if not answer.content_type.startswith("application/json"):
            return text.decode(errors="replace")
        try:
            return json.loads(text)
        except ValueError:
            raise CliError(
                f"cannot understand the answer from {self.address.url}: it is no JSON",
                "is it swapd that listens there?",
            ) from None

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Any,
        timeout_s: float | None,
        accept: str,
    ) -> Answer:
        import http.client

        connection = self._connection()
        headers = {**self._headers, "Accept": accept}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        target = self.address.prefix + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        try:
            connection.connect()
            connection.sock.settimeout(timeout_s)
            _notice_lost_peers(connection.sock)
            sock = connection.sock  # http.client lets go of it once it knows that it will be closed
            connection.request(method, target, content, headers)
            return Answer(self.address, connection, connection.getresponse(), sock)
        except (OSError, http.client.HTTPException) as error:
            connected = connection.sock is not None
            connection.close()
            raise _unreachable(self.address, error, connected=connected) from None

    def _connection(self) -> http.client.HTTPConnection:
        import http.client

        address = self.address
        if address.socket_path:
            return _unix_connection(address.socket_path)
        if address.tls:
            return http.client.HTTPSConnection(
                address.host, address.port, timeout=CONNECT_TIMEOUT_S, context=self._tls_context()
            )
        return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)

    def _tls_context(self) -> ssl.SSLContext:
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._trust.ca_file)
        except OSError as error:
            raise CliError(
                f"cannot use {self._trust.ca_file}: {error.strerror or error}",
                "--ca-file needs a file of certificates in PEM form",
            ) from None
        if self._trust.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _error(self, path: str, answer: Answer) -> ApiError | CliError:
        error_code, why = _explained(answer.read())
        if not why and answer.status in (404, 405):
            return CliError(
                f"cannot ask {self.address.url}: it does not know {path}",
                "is it swapd that listens there, and as new as this command?",
                ExitCode.UNREACHABLE,
            )
        why = why or f"HTTP status {answer.status}"
        return ApiError(f"swapd refused: {why}", answer.status, error_code, why)


class Answer:
    """The answer to one request: its head is here, its body is still to be read. Closed by leaving `with`."""

    def __init__(
        self,
        address: Address,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        sock: socket.socket,
    ) -> None:
        self.status = response.status
        self.content_type = response.getheader("content-type") or ""
        self._address = address
        self._connection = connection
        self._response = response
        self._sock = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def hang_up(self) -> None:
        """End the connection while another thread reads from it, which then gets its end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def read(self) -> bytes:
        """All of the body."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives. Raises `CliError` when it breaks off."""
        import http.client

        try:
            while chunk := self._response.read1(65536):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise _broken_off(self._address, error) from None

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without line ends, each as soon as it is whole."""
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def events(self) -> Iterator[tuple[str, Any]]:
        """Type and data of the messages of `/api/events`, whose data is JSON in JSON."""
        for line in self.lines():
            if line.startswith(b"data:"):
                message = json.loads(line.removeprefix(b"data:"))
                yield message["type"], json.loads(message["data"])


def _unix_connection(path: str) -> http.client.HTTPConnection:
    import http.client

    class UnixConnection(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(path)
            except OSError:
                self.close()
                raise

    return UnixConnection("localhost", timeout=CONNECT_TIMEOUT_S)


def _notice_lost_peers(sock: socket.socket) -> None:
    """Some answers take as long as a model does; a machine that is gone must not be waited for so long."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _explained(body: bytes) -> tuple[str, str]:
    """Error code and message of an error answer of swapd's; both empty for anybody else's."""
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or ""), str(error["message"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", ""


def _exit_code(status: int, error_code: str) -> ExitCode:
    if status in (401, 403):
        return ExitCode.REFUSED
    if status in _FAILED_FOR_NOW and error_code not in _FAILED_FOR_GOOD:
        return ExitCode.BUSY
    return ExitCode.FAILED


def _hint(status: int, error_code: str) -> str:
    if status == 401:
        return "give a key with --api-key-file FILE or in SWAPD_API_KEY"
    if error_code == "admin_required":
        return "use a key with admin rights, or the admin socket on the daemon's own machine"
    return ""


def _unreachable(address: Address, error: Exception, *, connected: bool) -> CliError:
    if isinstance(error, TimeoutError) and connected:
        return CliError(
            f"swapd at {address.url} has not answered: timed out",
            "it may be busy; `swapd health` tells",
            ExitCode.BUSY,
        )
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        why = f"its certificate is not trusted: {getattr(error, 'verify_message', why)}"
        hint = "name the authority with --ca-file FILE, or do without the check with --insecure"
    elif isinstance(error, PermissionError):
        hint = "the admin socket is for its owner and group; join the group, or use --url http://…"
    else:
        hint = "start it with `swapd serve`, or say where it is with --url URL"
    return CliError(f"cannot reach swapd at {address.url}: {why}", hint, ExitCode.UNREACHABLE)


def _broken_off(address: Address, error: Exception) -> CliError:
    if isinstance(error, TimeoutError):
        return CliError(f"swapd at {address.url} has gone silent: timed out", code=ExitCode.BUSY)
    return CliError(f"the answer of {address.url} broke off: {error}", code=ExitCode.UNREACHABLE)
