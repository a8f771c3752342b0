"""What became of one request, noted down by whoever answers it."""

from __future__ import annotations

from typing import Final

RECORD: Final = "swapd.record"
"""The key under which a request's scope holds its `RequestRecord`."""


class RequestRecord:
    """Status and size of the answer to one request, for the access log.

    `status` is 0 until the head of the response is sent; `bytes_sent` counts body bytes as handed to the
    server. Whoever calls `send` fills it in as it goes: a wrapper around `send` would cost more than all the
    rest of the bookkeeping.
    """

    __slots__ = ("bytes_sent", "status")

    def __init__(self) -> None:
        self.status = 0
        self.bytes_sent = 0
