"""What can go wrong between swapd and an upstream: one class per thing a caller can do something about."""

from __future__ import annotations


class UpstreamError(Exception):
    """An exchange with an upstream failed. The text names the address and the cause, for people."""

    request_sent = True
    """False if not one byte of the request reached the upstream, so that asking again repeats nothing."""


class ConnectFailed(UpstreamError):
    """No connection: refused, no route, name unknown, or not within the connect timeout."""

    def __init__(self, message: str, *, request_sent: bool = False) -> None:
        super().__init__(message)
        self.request_sent = request_sent


class ConnectTimedOut(ConnectFailed):
    """Nobody answered within the connect timeout."""


class ConnectionLost(UpstreamError):
    """The connection was closed or reset before the response had come to its end."""


class SendTimedOut(UpstreamError):
    """The upstream stopped reading the request's body."""


class HeadTimedOut(UpstreamError):
    """The upstream took the request, and its response did not begin within the response header timeout."""


class BadResponse(UpstreamError):
    """What the upstream sent is not HTTP/1.1, or asks for more memory than a response head may."""


class BodyFailed(Exception):
    """The source of a request's body raised an exception; that one is the `__cause__`."""


class BodyLengthMismatch(Exception):
    """The source of a body did not deliver as many bytes as its `Content-Length` had promised."""


class UnsupportedURL(ValueError):
    """The upstream's base URL is not one that this client speaks to: `http://host[:port][/path][?query]`."""
