"""Routes that no model server has, for tests of relaying itself; all under `/test/`.

- `POST /test/echo`: what arrived, as JSON: method, target, headers, length and SHA-256 of the body.
- `GET /test/bytes/N`: N reproducible bytes, chunked; with `?length=1` by Content-Length.
- `GET /test/status/N`: an answer with that status; `?reason=` goes into its body.
- `GET /test/truncated`: promises more than it sends, then closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from swapd.testing.upstream.answer import Answer
from swapd.testing.upstream.state import UpstreamState
from swapd.testing.upstream.wire import Request, chunk

_BLOCK = bytes(range(256)) * 256
"""64 KiB; what `/test/bytes` is made of."""


def answer(request: Request, state: UpstreamState) -> Answer | None:
    """The answer when the path is one of the above, else None."""
    match request.path.split("/")[1:]:
        case ["test", "echo"]:
            return Answer.json(_echo(request))
        case ["test", "bytes", size] if size.isdigit():
            return _bytes(int(size), by_length="length" in request.query)
        case ["test", "status", status] if status.isdigit():
            return Answer.error(int(status), request.query.get("reason", "as asked for"))
        case ["test", "truncated"]:
            return Answer("application/octet-stream", frames=[_BLOCK], length=2 * len(_BLOCK))
    return None


def reproducible_bytes(size: int) -> Iterator[bytes]:
    """The body of `/test/bytes/{size}`, in blocks of at most 64 KiB."""
    for start in range(0, size, len(_BLOCK)):
        yield _BLOCK[: size - start]


def reproducible_sha256(size: int) -> str:
    """Hexadecimal SHA-256 of the body of `/test/bytes/{size}`."""
    checksum = sha256()
    for block in reproducible_bytes(size):
        checksum.update(block)
    return checksum.hexdigest()


def _bytes(size: int, *, by_length: bool) -> Answer:
    blocks = reproducible_bytes(size)
    if by_length:
        return Answer("application/octet-stream", frames=blocks, length=size)
    return Answer("application/octet-stream", frames=map(chunk, blocks))


def _echo(request: Request) -> dict[str, object]:
    return {
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body_length": request.body_length,
        "body_sha256": request.body_sha256,
    }
