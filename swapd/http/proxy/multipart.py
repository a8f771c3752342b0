"""Multipart bodies (RFC 7578): finding the fields that matter, and replacing one without touching the rest.

A form may carry a file of any size, so it is parsed as it arrives and kept as it came: in memory up to
`MEMORY_LIMIT` bytes, else in a temporary file that nobody else can see. Of the fields that matter the place
of every value is noted, so that a rewritten form is the original with other bytes in those places: same
boundary, same order of parts, same names, types and files.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import IO

import trio
from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MEMORY_LIMIT = 4 * 1024 * 1024
"""Bytes of a form that are kept in memory; a longer one goes to disk as a whole."""

WRITE_SIZE = 256 * 1024
"""A form on its way to disk is written, and read back, in pieces of about this size."""

MAX_VALUE = 64 * 1024
"""Bytes that the value of a field that matters may take."""

_MAX_HEADERS = 64
_MAX_HEADER_BYTES = 16 * 1024

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would print what clients get wrong


class Malformed(ValueError):
    """The body is not a form: no or a wrong boundary, cut off, or a part without end."""


class FormField(Struct, frozen=True):
    """A field that matters: its value, and the bytes of the body that are this value."""

    name: str
    value: bytes
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.value)


class FormScanner:
    """Finds fields in a multipart body that is fed to it piece by piece; keeps none of it but their values.

    The mutable state is what has been found, `fields`, and how far the current part has come.
    """

    def __init__(self, wanted: frozenset[str]) -> None:
        self.fields: list[FormField] = []
        self._wanted = wanted
        self._parser: MultipartParser
        self._fed = 0
        self._piece = b""
        self._header_name = b""
        self._header_value = b""
        self._part: str | None = None
        self._value: list[bytes] = []
        self._value_size = 0
        self._value_start = 0
        self._ended = False

    @classmethod
    def for_content_type(cls, content_type: bytes, wanted: Sequence[str]) -> FormScanner:
        """A scanner for a body of this type. Raises `Malformed` if the type names no usable boundary."""
        try:
            _, options = parse_options_header(content_type)
        except (ValueError, IndexError) as error:
            raise Malformed(f"the Content-Type cannot be read: {error}") from None
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise Malformed("the Content-Type names no boundary")
        scanner = cls(frozenset(wanted))
        try:
            scanner._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": scanner._on_part_begin,
                    "on_part_data": scanner._on_part_data,
                    "on_part_end": scanner._on_part_end,
                    "on_header_field": scanner._on_header_field,
                    "on_header_value": scanner._on_header_value,
                    "on_header_end": scanner._on_header_end,
                    "on_end": scanner._on_end,
                },
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise Malformed(str(error)) from None
        return scanner

    def feed(self, piece: bytes) -> None:
        """Take in the next piece. Raises `Malformed`."""
        self._piece = piece
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Malformed(str(error)) from None
        self._fed += len(piece)

    def finish(self) -> None:
        """The body is complete. Raises `Malformed` if the form is not."""
        if not self._ended:
            raise Malformed("the form ends before its last boundary")

    # -- called by the parser --------------------------------------------------------------------------------

    def _on_part_begin(self) -> None:
        self._part = None
        self._value, self._value_size = [], 0

    def _on_header_field(self, source: bytes, start: int, end: int) -> None:
        self._header_name += source[start:end]

    def _on_header_value(self, source: bytes, start: int, end: int) -> None:
        self._header_value += source[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._part = self._field_name(self._header_value)
        self._header_name = self._header_value = b""

    def _field_name(self, disposition: bytes) -> str | None:
        try:
            kind, options = parse_options_header(disposition)
        except (ValueError, IndexError):
            return None
        name = options.get(b"name", b"").decode("utf-8", "replace")
        is_file = b"filename" in options
        return name if kind == b"form-data" and name in self._wanted and not is_file else None

    def _on_part_data(self, source: bytes, start: int, end: int) -> None:
        if self._part is None:
            return
        if not self._value_size:
            # What looked like a boundary at the end of an earlier piece comes out of the parser's own memory.
            self._value_start = self._fed + start if source is self._piece else self._fed - (end - start)
        self._value_size += end - start
        if self._value_size > MAX_VALUE:
            raise Malformed(f"the field {self._part!r} is longer than {MAX_VALUE} bytes")
        self._value.append(source[start:end])

    def _on_part_end(self) -> None:
        if self._part is not None:
            self.fields.append(FormField(self._part, b"".join(self._value), self._value_start))

    def _on_end(self) -> None:
        self._ended = True


class Spool:
    """The bytes of a body as it came: in memory, or in a temporary file once it is too long for that.

    The mutable state are the pieces not yet written and the file; `add` changes both, `close` drops both.
    """

    def __init__(self, memory_limit: int = MEMORY_LIMIT) -> None:
        self._limit = memory_limit
        self._pieces: list[bytes] = []
        self._pending = 0
        self._file: IO[bytes] | None = None
        self.length = 0

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    async def add(self, piece: bytes) -> None:
        """Keep `piece`. Raises `OSError` when the disk is full. Cancelling it waits for a write under way."""
        self._pieces.append(piece)
        self._pending += len(piece)
        self.length += len(piece)
        if self._pending > (self._limit if self._file is None else WRITE_SIZE):
            await self.flush()

    async def flush(self) -> None:
        """Write what is in memory to the file, which is opened if need be."""
        await trio.to_thread.run_sync(self._write)

    def in_memory(self) -> bytes:
        """The whole body, if it is not on disk."""
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def read(self, start: int, size: int) -> bytes:
        """Some of what is on disk; for a worker thread."""
        assert self._file is not None
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        """Give back memory and disk space. May be called more than once."""
        self._pieces = []
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="swapd-upload-")  # noqa: SIM115 - closed by `close`
            self._file.seek(0)
        for piece in self._pieces:
            self._file.write(piece)
        self._file.flush()
        self._pieces, self._pending = [], 0


class Form:
    """A complete form: its bytes, and the places of the fields that matter.

    `close` it at the end of the request. Replacing a field is noted and shows when the bytes are asked for.
    """

    def __init__(self, spool: Spool, fields: Sequence[FormField]) -> None:
        self.spool = spool
        self.fields = fields
        self._new: dict[str, bytes] = {}

    def value(self, name: str) -> str | None:
        """The first value of a field."""
        new = self._new.get(name)
        for candidate in self.fields:
            if candidate.name == name:
                return (candidate.value if new is None else new).decode("utf-8", "replace")
        return None

    def replace(self, name: str, value: str) -> None:
        """Let every value of a field be this one."""
        self._new[name] = value.encode("utf-8", "replace")

    @property
    def length(self) -> int:
        """Bytes of the body with what is replaced."""
        changes = sum(len(self._new[spot.name]) - len(spot.value) for spot in self._replaced())
        return self.spool.length + changes

    def as_bytes(self) -> bytes:
        """The body, if it is in memory."""
        body = self.spool.in_memory()
        parts: list[bytes] = []
        position = 0
        for spot in self._replaced():
            parts += (body[position : spot.start], self._new[spot.name])
            position = spot.end
        return b"".join((*parts, body[position:])) if parts else body

    def pieces(self) -> FormPieces:
        """The body from disk, piece by piece; may be gone through more than once."""
        sections: list[tuple[int, int] | bytes] = []
        position = 0
        for spot in self._replaced():
            sections += ((position, spot.start), self._new[spot.name])
            position = spot.end
        return FormPieces(self.spool, [*sections, (position, self.spool.length)])

    def close(self) -> None:
        self.spool.close()

    def _replaced(self) -> list[FormField]:
        return [spot for spot in self.fields if spot.name in self._new and spot.value]


class FormPieces:
    """An asynchronous iterable over sections of a spooled body and bytes to go in between."""

    def __init__(self, spool: Spool, sections: Sequence[tuple[int, int] | bytes]) -> None:
        self._spool = spool
        self._sections = sections

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Reading(self._spool, list(self._sections))


class _Reading:
    """One way through. Cancelling a step waits for the read that is under way."""

    def __init__(self, spool: Spool, sections: list[tuple[int, int] | bytes]) -> None:
        self._spool = spool
        self._sections = sections

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while self._sections:
            section = self._sections.pop(0)
            if isinstance(section, bytes):
                return section
            start, end = section
            if start >= end:
                continue
            size = min(WRITE_SIZE, end - start)
            piece = await trio.to_thread.run_sync(self._spool.read, start, size)
            self._sections.insert(0, (start + size, end))
            return piece
        raise StopAsyncIteration
