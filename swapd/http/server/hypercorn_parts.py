"""What hypercorn's own classes want to be given: its settings, and the context of a worker.

Only WebSockets, HTTP/2 and TLS are hypercorn's. Importing it (with h2, h11 and wsproto) takes as long as
everything else that the server needs, and ten megabytes; so nothing that plain HTTP/1.1 needs imports this.
"""

from __future__ import annotations

import ssl

from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from swapd.http.server.settings import ServerSettings


class HypercornParts:
    """hypercorn's settings and context, one pair for a server."""

    def __init__(self, settings: ServerSettings) -> None:
        self.config = _config(settings)
        self.context = WorkerContext(None)

    async def terminate(self) -> None:
        """Tell hypercorn's classes that the server is about to stop."""
        await self.context.terminated.set()

    def create_ssl_context(self) -> ssl.SSLContext:
        """For a server with TLS settings; raises what `ssl` raises for files it cannot use."""
        context = self.config.create_ssl_context()
        assert context is not None
        return context


def _config(settings: ServerSettings) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_date_header = False
    config.include_server_header = False
    config.keep_alive_max_requests = 2**31
    config.h2_max_header_list_size = settings.max_head_bytes
    config.websocket_max_message_size = settings.websocket_max_message
    if settings.tls is not None:
        config.certfile = str(settings.tls.certificate)
        config.keyfile = str(settings.tls.key)
        config.keyfile_password = settings.tls.password
    return config
