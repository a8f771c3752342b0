"""The HTTP server: hypercorn's parts on trio, run by a serve loop and a connection class of our own.

`serve` runs an ASGI app on listening sockets. See `serve` and `ServerSettings` for what it promises, and
`asgi` for what it adds to ASGI.
"""

from swapd.http.server.asgi import ABORT, ASGIApp, BodyTooLarge, ClientGone, Headers, Receive, Scope, Send
from swapd.http.server.response import ResponseError
from swapd.http.server.serve import Server, serve
from swapd.http.server.settings import TLS, ServerSettings

__all__ = [
    "ABORT",
    "TLS",
    "ASGIApp",
    "BodyTooLarge",
    "ClientGone",
    "Headers",
    "Receive",
    "ResponseError",
    "Scope",
    "Send",
    "Server",
    "ServerSettings",
    "serve",
]
