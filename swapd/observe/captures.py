"""Whole requests and responses, of the newest that fit into a budget of memory, for people who want to look.

A capture takes over what the request's handling had in hand anyway: nothing is copied while a request runs,
and nothing is laid out before somebody looks. The newest captures lie there as they are; when they have
become many, they are packed, in a thread, oldest first, many at once. What is over the budget is thrown away,
oldest first too. Secrets are masked before a capture is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
import trio
from msgspec import Struct

from swapd.observe.inflight import REDACTED, canonical_name

if TYPE_CHECKING:
    from swapd.config import Config
    from swapd.observe.inflight import Headers, InFlightRequest
    from swapd.observe.tap import BodyTap

UNPACKED_BYTES: Final = 512 * 1024
"""How much of the newest may lie unpacked before packing begins."""
PACKED_TOGETHER: Final = 64 * 1024
"""About how many bytes of captures are packed as one. They resemble each other, so together they become much
smaller, and at a fraction of the cost; the memory of all is given back with the last of them."""
PACK_PAUSE_S: Final = 0.1
"""Between one packing and the next. Where more comes than is packed at that pace, the budget is soon full of
what came last, and to pack it would be work for the bin."""
_FASTEST: Final = 1
OVERHEAD: Final = 600
"""Bytes that an entry costs beside its bodies and headers, about."""

_NO_RESPONSE_BODY: Final = frozenset({"/v1/audio/speech", "/v1/images/generations", "/sdapi/v1/txt2img"})
_NO_REQUEST_BODY: Final = frozenset({"/v1/audio/voices", "/v1/audio/transcriptions"})
_NO_BODIES: Final = frozenset({"/v1/images/edits", "/sdapi/v1/img2img"})
_NAME: Final = itemgetter(0)
_REDACTED: Final = REDACTED.encode()
_SECRET_PARAMETERS: Final = ("key", "token", "secret", "password")


class Capture(Struct, frozen=True, gc=False):
    """One request and its response, secrets masked. Bodies are None where they are not kept.

    Headers are lines, a name and a value in turns: a single object, where pairs would be dozens that the
    garbage collector goes through. `headers_of` makes them readable.
    """

    req_path: str
    req_query: str
    req_headers: bytes
    req_body: bytes | None
    resp_headers: bytes
    resp_body: bytes | None
    truncated: bool

    def as_json(self, id: int, *, bodies: bool) -> dict[str, Any]:
        """The capture as the API shows it."""
        requested, responded = headers_of(self.req_headers), headers_of(self.resp_headers)
        shown: dict[str, Any] = {
            "id": id,
            "req_path": self.req_path,
            "req_headers": _firsts(requested),
            "req_body": _base64(self.req_body) if bodies else None,
            "resp_headers": _firsts(responded),
            "resp_body": _base64(self.resp_body) if bodies else None,
        }
        if self.req_query:
            shown["req_query"] = self.req_query
        for name, headers in (("req", requested), ("resp", responded)):
            repeated = {key: values for key, values in headers.items() if len(values) > 1}
            if repeated:
                shown[f"{name}_header_values"] = repeated
        if self.truncated:
            shown["truncated"] = True
        return shown


class CaptureRules(Struct, frozen=True):
    """What of the configuration concerns captures. Sizes in bytes; a `budget` of 0 is none at all."""

    budget: int
    most_of_a_body: int
    masked_headers: frozenset[bytes]
    mask: tuple[Callable[[bytes], bytes], ...] = ()
    only_keys: frozenset[str] = frozenset()

    @classmethod
    def from_config(cls, config: Config) -> CaptureRules:
        rules = config.captures
        return cls(
            budget=max(0, config.capture_buffer_mb) * 1024 * 1024,
            most_of_a_body=rules.max_entry,
            masked_headers=frozenset(
                name.lower().encode("latin-1") for name in (*_ALWAYS_MASKED, *rules.redact_headers)
            ),
            mask=tuple(_masker(pattern.compiled) for pattern in rules.redact_patterns),
            only_keys=frozenset(rules.only_keys),
        )

    def wants(self, request: InFlightRequest) -> bool:
        """Whether this request is to be captured."""
        return self.budget > 0 and (not self.only_keys or request.key_name in self.only_keys)


class Captures:
    """The captures that are kept, by the id of their row.

    The mutable state is the entries, oldest first, each packed or not, with their sizes. `add` makes them,
    packing replaces them, and both throw away what is too much.
    """

    def __init__(self, rules: CaptureRules) -> None:
        self.rules = rules
        self._entries: dict[int, tuple[Capture | Packed, int]] = {}
        self._unpacked: dict[int, None] = {}
        self._unpacked_size = 0
        self.size = 0
        """Bytes in use."""
        self._wanted = trio.Event()

    def __contains__(self, id: int) -> bool:
        return id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def ids(self) -> list[int]:
        return list(self._entries)

    def apply(self, rules: CaptureRules) -> None:
        """Keep within a new budget from now on."""
        self.rules = rules
        self._throw_away()

    def add(self, id: int, capture: Capture) -> None:
        """Keep a capture. One that is larger than the whole budget is not kept."""
        size = _size(capture)
        if size > self.rules.budget:
            return
        self._entries[id] = (capture, size)
        self._unpacked[id] = None
        self._unpacked_size += size
        self.size += size
        self._throw_away()
        if self._unpacked_size > UNPACKED_BYTES:
            self._wanted.set()

    def get(self, id: int) -> Capture | None:
        """The capture of a row, if it is still there."""
        entry = self._entries.get(id)
        if entry is None:
            return None
        return entry[0].unpack() if isinstance(entry[0], Packed) else entry[0]

    async def run(self) -> None:
        """Pack what has become old, until cancelled. Sleeps while there is nothing to do."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self._unpacked_size > UNPACKED_BYTES // 2 and self._unpacked:
                old = self._oldest_unpacked()
                packed = await trio.to_thread.run_sync(pack, list(old.values()))
                size = len(packed) // len(old) + OVERHEAD // 4
                for index, id in enumerate(old):
                    if id in self._unpacked:  # else it has been thrown away meanwhile
                        self._replace(id, Packed(packed, index), size)
                await trio.sleep(PACK_PAUSE_S)

    def _oldest_unpacked(self) -> dict[int, Capture]:
        """So many that they are worth being packed together, one at least."""
        oldest: dict[int, Capture] = {}
        size = 0
        for id in self._unpacked:
            capture, its_size = self._entries[id]
            assert isinstance(capture, Capture)
            oldest[id] = capture
            size += its_size
            if size >= PACKED_TOGETHER:
                break
        return oldest

    def _replace(self, id: int, packed: Packed, size: int) -> None:
        del self._unpacked[id]
        before = self._entries[id][1]
        self._unpacked_size -= before
        self.size += size - before
        self._entries[id] = (packed, size)  # keeps its place in the order

    def _throw_away(self) -> None:
        while self.size > self.rules.budget and self._entries:
            id = next(iter(self._entries))
            _, size = self._entries.pop(id)
            self.size -= size
            if id in self._unpacked:
                del self._unpacked[id]
                self._unpacked_size -= size


def capture_of(request: InFlightRequest, tap: BodyTap | None, rules: CaptureRules) -> Capture:
    """What there is to keep of an ended request."""
    path = request.forwarded_path
    request_body, response_body = request.request_body, None
    truncated = False
    if request_body is not None and len(request_body) > rules.most_of_a_body:
        request_body, truncated = request_body[: rules.most_of_a_body], True
    if path in _NO_REQUEST_BODY or path in _NO_BODIES:
        request_body = None
    headers: Headers = request.response_headers
    if tap is not None and path not in _NO_RESPONSE_BODY and path not in _NO_BODIES:
        response_body = tap.body()
        truncated = truncated or tap.truncated
        if response_body is not None:
            response_body = response_body[: rules.most_of_a_body]
            if tap.encoding:
                headers = [pair for pair in headers if pair[0] != b"content-encoding"]
        if request.progress.status != 200 and not _is_text(headers):
            response_body = None
    return Capture(
        req_path=path,
        req_query=_masked_query(request.query),
        req_headers=_without_secrets(request.request_headers, rules.masked_headers),
        req_body=_masked(request_body, rules),
        resp_headers=_without_secrets(headers, rules.masked_headers),
        resp_body=_masked(response_body, rules),
        truncated=truncated,
    )


def pack(captures: list[Capture]) -> bytes:
    """The captures, small. May be called in any thread."""
    import zstandard  # loaded by those who have something to pack

    return zstandard.ZstdCompressor(_FASTEST).compress(msgspec.msgpack.encode(captures))


class Packed(Struct, frozen=True, gc=False):
    """One of the captures that were packed together."""

    all: bytes
    index: int

    def unpack(self) -> Capture:
        import zstandard

        text = zstandard.ZstdDecompressor().decompress(self.all)
        return msgspec.msgpack.decode(text, type=list[Capture])[self.index]


def _size(capture: Capture) -> int:
    headers = len(capture.req_headers) + len(capture.resp_headers)
    return len(capture.req_body or b"") + len(capture.resp_body or b"") + headers + OVERHEAD


def headers_of(kept: bytes) -> dict[str, list[str]]:
    """A capture's headers for people: canonical names, `Host` left out."""
    shown: dict[str, list[str]] = {}
    lines = kept.split(b"\n")
    for name, value in zip(lines[::2], lines[1::2], strict=False):
        if name != b"host":
            shown.setdefault(canonical_name(name), []).append(value.decode("utf-8", "replace"))
    return shown


def _without_secrets(headers: Headers, masked: frozenset[bytes]) -> bytes:
    if masked.isdisjoint(map(_NAME, headers)):
        return b"\n".join(chain.from_iterable(headers))
    return b"\n".join(
        [part for name, value in headers for part in (name, _REDACTED if name in masked else value)]
    )


def _firsts(headers: dict[str, list[str]]) -> dict[str, str] | None:
    return {name: values[0] for name, values in headers.items()} or None


def _base64(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode("ascii")


def _masked(body: bytes | None, rules: CaptureRules) -> bytes | None:
    for mask in rules.mask if body else ():
        assert body is not None
        body = mask(body)
    return body


def _masker(pattern: Any) -> Callable[[bytes], bytes]:
    def mask(body: bytes) -> bytes:
        try:
            return str(pattern.sub(REDACTED, body.decode())).encode()
        except UnicodeDecodeError:
            return body  # patterns are for text

    return mask


def _masked_query(query: bytes) -> str:
    """A query without the values of parameters that look like secrets."""
    if not query:
        return ""
    pairs: Iterable[tuple[str, str]] = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode(
        [
            (name, REDACTED if any(word in name.lower() for word in _SECRET_PARAMETERS) else value)
            for name, value in pairs
        ],
        safe="[]",
    )


def _is_text(headers: Headers) -> bool:
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.startswith(b"text/") or b"json" in kind or b"xml" in kind


_ALWAYS_MASKED: Final = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")
