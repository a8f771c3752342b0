"""`/upstream/{model}/{path…}` and `/comfyui/{path…}`: which model is meant, and what to ask its server for.

The model's name may contain slashes, and the path below it escapes that must survive. So the path is taken
apart in its escaped form, and only what is compared with names is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from swapd.http.proxy.targets import Target

PREFIX = b"/upstream/"
COMFYUI = b"/comfyui"

MAX_NAME_PIECES = 64
"""Names of more pieces are not looked for; without a bound, a long path would cost quadratic time."""

_SEPARATOR = re.compile(rb"/|%2[Ff]")


class Addressed(Struct, eq=False):
    """What a path below one of the prefixes addresses."""

    name: str
    """The model as the client wrote it, decoded."""
    target: Target
    path: bytes
    """What the model's server is asked for: escaped as the client wrote it, beginning with a slash."""
    prefix: bytes = PREFIX
    ready_only: str = ""
    """Why this path may not start its model, for the client to read; empty if it may."""

    @property
    def needs_redirect(self) -> bool:
        """Whether even the slash behind the name is missing; relative links would lead astray then."""
        return not self.path

    @property
    def root(self) -> bytes:
        """The path of the model's own `/`, seen from here."""
        return PREFIX + quote(self.name).encode("ascii") + b"/"


def address(raw_path: bytes, find: Callable[[str], Target | None]) -> Addressed | None:
    """Find the model in `raw_path`, which begins with `PREFIX`: the longest run of pieces that names one."""
    found: Addressed | None = None
    for name, end in _names(raw_path):
        target = find(name)
        if target is not None:
            found = Addressed(name, target, _rest(raw_path, end))
    return found


def pinned(raw_path: bytes, pins: Mapping[str, str]) -> bytes:
    """`raw_path` with what the longest pin in it stands for; the escapes of the rest stay.

    A pin that stands for nothing leaves a path that addresses nothing.
    """
    new = raw_path
    for name, end in _names(raw_path):
        target = pins.get(name)
        if target is not None:
            new = PREFIX + quote(target).encode("ascii") + _rest(raw_path, end) if target else PREFIX
    return new


def decoded(path: bytes) -> str:
    """An escaped path as text; what is no UTF-8 becomes U+FFFD."""
    return unquote_to_bytes(path).decode("utf-8", "replace")


def _names(raw_path: bytes) -> Iterator[tuple[str, int]]:
    """Every name that `raw_path` may mean, the shortest first, each with the position of its end."""
    name = ""
    for piece, end in _pieces(raw_path):
        name = f"{name}/{piece}" if name else piece
        yield name, end


def _pieces(raw_path: bytes) -> Iterator[tuple[str, int]]:
    """The decoded, non-empty pieces between slashes, escaped ones too, each with the position of its end."""
    start = len(PREFIX)
    for _ in range(MAX_NAME_PIECES):
        separator = _SEPARATOR.search(raw_path, start)
        end = separator.start() if separator else len(raw_path)
        if end > start:
            yield decoded(raw_path[start:end]), end
        if separator is None:
            return
        start = separator.end()


def _rest(raw_path: bytes, end: int) -> bytes:
    separator = _SEPARATOR.match(raw_path, end)
    return b"/" + raw_path[separator.end() :] if separator else b""
