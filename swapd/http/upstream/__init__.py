"""The client side: plain-http HTTP/1.1 to upstreams on trio, with a keep-alive pool per upstream.

`UpstreamPool` is the raw layer the hot path uses. `UpstreamTransport`, in `transport`, is httpx on top of it.
It is imported from there, so that only who uses httpx loads it.
"""

from swapd.http.upstream.address import BaseURL
from swapd.http.upstream.errors import (
    BadResponse,
    BodyFailed,
    BodyLengthMismatch,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    HeadTimedOut,
    SendTimedOut,
    UnsupportedURL,
    UpstreamError,
)
from swapd.http.upstream.pool import Timeouts, UpstreamPool
from swapd.http.upstream.response import UpstreamResponse
from swapd.http.upstream.sending import StreamedBody

__all__ = [
    "BadResponse",
    "BaseURL",
    "BodyFailed",
    "BodyLengthMismatch",
    "ConnectFailed",
    "ConnectTimedOut",
    "ConnectionLost",
    "HeadTimedOut",
    "SendTimedOut",
    "StreamedBody",
    "Timeouts",
    "UnsupportedURL",
    "UpstreamError",
    "UpstreamPool",
    "UpstreamResponse",
]
