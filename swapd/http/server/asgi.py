"""The types of ASGI 3, as far as this server speaks it, and what it adds.

Two extensions stand in `scope["extensions"]` of an `http` scope besides ASGI's own `http.response.trailers`:
`"swapd.abort"` is a callable without arguments that breaks the connection (HTTP/2: the stream) at once, so
that no client takes a truncated answer for a whole one. It never raises, may be called more than once, and
what is left of the app is cancelled, just as if the client had gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Headers = list[tuple[bytes, bytes]]
"""(name, value) pairs in the order of arrival: names in lower case, values without white space around."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ABORT = "swapd.abort"
"""The name of the extension described above."""


class BodyTooLarge(Exception):
    """What `receive()` raises once a request body has passed `ServerSettings.max_body_bytes`.

    An app that does not catch it answers 413 without further ado, provided its response has not begun.
    """


class ClientGone(OSError):
    """What `send()` raises after the client has gone, for a caller that is shielded from the cancellation."""
