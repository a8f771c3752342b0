"""The files of the web UI, as the package build has left them in `swapd/http/static`.

They hold no data and need no key. Files below `assets/` have a hash in their names and are kept by browsers
for ever; the few others are asked for again each time and answered with 304. Where the build wrote a
compressed copy beside a file, that is what a client gets that understands it.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trio
from attrs import frozen
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from swapd.http.record import RECORD
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send

BUILT: Final = Path(__file__).parent.parent / "static"
"""Where the build puts the files; the directory is missing in a package that was made without them."""

INDEX: Final = "index.html"

_POLICY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'self'; object-src 'none'"
)

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
"""Of every page of ours: only our own files act in it, and no other page learns where it was linked from."""

_CODINGS: Final = (("br", ".br"), ("gzip", ".gz"))  # the smallest first
_TYPES: Final = {".js": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_FOREVER: Final = "public, max-age=31536000, immutable"


@frozen
class StaticFile:
    """One file; `codings` are its compressed copies by the name of their coding."""

    path: Path
    media_type: str
    digest: str
    codings: Mapping[str, Path]
    hashed_name: bool


class StaticFiles:
    """The files of one directory, found by their relative path and in no other way: what is not among those
    that were there at the first request does not exist, so no path leads out of the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: Mapping[str, StaticFile] | None = None

    async def find(self, name: str) -> StaticFile | None:
        """The file called `name`, such as `assets/index-1234.js`. Reads the directory once, in a thread."""
        if self._files is None:
            self._files = await trio.to_thread.run_sync(_read, self._directory)
        return self._files.get(name)

    async def response(self, name: str, request: Request) -> Response | ASGIApp | None:
        """The answer to a GET or HEAD for the file called `name`; None if there is none."""
        file = await self.find(name)
        return None if file is None else _answer(file, request)


FILES: Final = StaticFiles(BUILT)


def _read(directory: Path) -> dict[str, StaticFile]:
    found = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
    copies = {name + suffix for name in found for _, suffix in _CODINGS}
    return {name: _describe(name, path, found) for name, path in found.items() if name not in copies}


def _describe(name: str, path: Path, found: Mapping[str, Path]) -> StaticFile:
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return StaticFile(
        path,
        media_type,
        hashlib.sha256(path.read_bytes()).hexdigest()[:24],
        {coding: found[name + suffix] for coding, suffix in _CODINGS if name + suffix in found},
        name.startswith("assets/"),
    )


def _answer(file: StaticFile, request: Request) -> Response | ASGIApp:
    coding = _coding(file, request)
    etag = f'"{file.digest}{f"-{coding}" if coding else ""}"'
    headers = {
        **SECURITY_HEADERS,
        "cache-control": _FOREVER if file.hashed_name else "no-cache",
        "etag": etag,
    }
    if file.codings:
        headers["vary"] = "Accept-Encoding"
    if _known(etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    if coding is not None:
        headers["content-encoding"] = coding
    path = file.codings[coding] if coding else file.path
    return _Counted(FileResponse(path, headers=headers, media_type=file.media_type))


def _coding(file: StaticFile, request: Request) -> str | None:
    """The coding to answer in: none for a part of a file, whose bytes are counted in the file itself."""
    if "range" in request.headers:
        return None
    accepted = {
        item.partition(";")[0].strip().lower()
        for item in request.headers.get("accept-encoding", "").split(",")
        if item.replace(" ", "").partition(";q=")[2] not in ("0", "0.0", "0.00", "0.000")
    }
    return next((coding for coding in file.codings if coding in accepted), None)


def _known(etag: str, if_none_match: str) -> bool:
    """RFC 9110 §13.1.2; the comparison is weak, so `W/` does not matter."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


class _Counted:
    """A response of Starlette's that notes down its status and size in the request's record."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = scope[RECORD]

        async def counted(message: Mapping[str, object]) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            elif isinstance(body := message.get("body"), bytes):
                record.bytes_sent += len(body)
            await send(message)

        # ASGI 2.4: `send` fails when the client has gone, so Starlette need not listen for that in a task.
        await self._response({**scope, "asgi": {"version": "3.0", "spec_version": "2.4"}}, receive, counted)
