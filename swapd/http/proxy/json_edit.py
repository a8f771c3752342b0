"""Setting and deleting values inside a JSON body without touching anything else of it.

An edit works on spans of the original text: what it does not change keeps its spelling, be it large integers,
duplicate keys, key order or white space. Parsing and writing the document anew could not promise that.

A key is a path: `.` separates its elements, `\\.` is a dot. In an object an element is a key. In an array a
number is an index, `-1` the end of it (a set appends, a deletion removes the last) and `#` every item. What a
path leads through and is not there, a set creates: an array where the next element is a number, else an
object. Of duplicate keys the first counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

import msgspec
from msgspec import Struct

from swapd.http.proxy.json_text import BOM, COLON, SEPARATORS, SPACE, STRING, key_name, match_end, value_end

MAX_PADDING = 100_000
"""The farthest index a set may create; the items before it become null."""

SMALL_VALUE = 4096
"""Bytes of a value that is worth no trouble."""

_MARK = os.urandom(12).hex().encode()
"""Tells our own stand-ins from anything that a client may send."""

_ELEMENT = re.compile(r"((?:\\.|[^.\\])*+)(?:\.|\Z)", re.DOTALL)
_INDEX = re.compile(r"\d+")
_PATTERN_CHARACTERS = re.compile(r"(?<!\\)[*|]")


class EditError(ValueError):
    """The edit does not fit the document: a key into an array, or a pattern where one key is expected."""


class NotJson(ValueError):
    """The document is not JSON as far as the edit would have to understand it."""


class _Last(Enum):
    """What becomes of the value at the end of a path that is to be deleted."""

    GONE = auto()


class Path(Struct, frozen=True, gc=False):
    """A parsed key."""

    elements: tuple[str, ...]
    has_pattern: bool
    """Whether it holds `*` or `|`, which other path languages give a meaning. Nothing is ever set by it."""

    @classmethod
    def parse(cls, text: str) -> Path:
        elements: list[str] = []
        position = 0
        while True:
            match = _ELEMENT.match(text, position)
            if match is None:  # a backslash at the very end stands for itself
                elements.append(text[position:])
                break
            elements.append(re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL))
            position = match.end()
            if not match[0].endswith(".") or match.end(1) == match.end():
                break
        return cls(tuple(elements), _PATTERN_CHARACTERS.search(text) is not None)


def set_value(body: bytes, path: Path, value: bytes) -> bytes:
    """`body` with `value`, which is JSON, at `path`. Raises `EditError` or `NotJson`."""
    return body if path.has_pattern else _edited(body, path, value)


def delete_value(body: bytes, path: Path) -> bytes:
    """`body` without what is at `path`, if there is anything. Raises `EditError` or `NotJson`."""
    if path.has_pattern:
        raise EditError("a pattern does not say which key to delete")
    return _edited(body, path, _Last.GONE)


class SetAside(Struct, eq=False):
    """A document without its largest values, for as long as others are edited.

    Pictures make a document of megabytes, which each edit would read and copy anew. `rest` is what remains,
    with a short string in the place of each value; `whole` puts them back.
    """

    rest: bytes
    values: list[tuple[bytes, memoryview]]

    @classmethod
    def largest_of(cls, body: bytes, needed: frozenset[str], above: int = SMALL_VALUE) -> SetAside:
        """Set aside the values at the top level that take more than `above` bytes, except those of `needed`.

        Raises `NotJson`.
        """
        if len(body) <= above:
            return cls(body, [])
        slots, _ = _members(body, _start_of(body))
        keys = {name.encode() for name in needed}
        splices: list[_Splice] = []
        values: list[tuple[bytes, memoryview]] = []
        document = memoryview(body)
        for slot in slots:
            if slot.end - slot.value > above and slot.key not in keys:
                stand_in = b'"\\u0000set aside: %d %b"' % (len(values), _MARK)
                splices.append(_Splice(slot.value, slot.end, stand_in))
                values.append((stand_in, document[slot.value : slot.end]))
        return cls(_spliced(body, splices), values)

    def whole(self) -> bytes:
        """The document as it is after the edits."""
        parts: list[bytes | memoryview] = []
        rest = self.rest
        for stand_in, value in self.values:
            before, _, rest = rest.partition(stand_in)
            parts += (before, value)
        return b"".join((*parts, rest)) if parts else rest


def encode(value: Any) -> bytes:
    """A value of the configuration as JSON."""
    return msgspec.json.encode(value)


def _edited(body: bytes, path: Path, new: bytes | _Last) -> bytes:
    start = _start_of(body)
    splices = list(_splices(body, start, path.elements, new))
    if not splices:
        return body
    return _spliced(body, splices)


def _spliced(body: bytes, splices: list[_Splice]) -> bytes:
    around = memoryview(body)  # a body may be large: it is copied once
    parts: list[bytes | memoryview] = []
    position = 0
    for splice in splices:
        parts += (around[position : splice.start], splice.text)
        position = splice.end
    parts.append(around[position:])
    return b"".join(parts)


def _start_of(body: bytes) -> int:
    """Where the object begins that a document is."""
    start = match_end(SPACE, body, len(BOM) if body.startswith(BOM) else 0)
    if body[start : start + 1] != b"{":
        raise NotJson("the body is not an object")
    return start


class _Splice(Struct, frozen=True, gc=False):
    """`text` in place of the bytes from `start` to `end`."""

    start: int
    end: int
    text: bytes


class _Slot(Struct, frozen=True, gc=False):
    """A member of an object or an item of an array: its whole, and the value in it."""

    start: int
    value: int
    end: int
    key: bytes = b""


def _splices(body: bytes, start: int, elements: tuple[str, ...], new: bytes | _Last) -> Iterator[_Splice]:
    """The changes that bring `new` to where `elements` lead from the container that begins at `start`."""
    if body[start : start + 1] == b"{":
        slots, close = _members(body, start)
        wanted = elements[0].encode()
        index = next((number for number, slot in enumerate(slots) if slot.key == wanted), None)
        prefix = msgspec.json.encode(elements[0]) + b":"
        padding = 0
    else:
        slots, close = _items(body, start)
        if elements[0] == "#":
            for number in range(len(slots)):
                yield from _within(body, slots, number, elements[1:], new)
            return
        index, padding = _array_index(elements[0], len(slots), deleting=new is _Last.GONE)
        prefix = b""
    if index is not None and index < len(slots):
        yield from _within(body, slots, index, elements[1:], new)
    elif isinstance(new, bytes):
        created = _created(elements[1:], new)
        if created is not None:
            text = b"null," * padding + prefix + created
            at = slots[-1].end if slots else close
            yield _Splice(at, at, b"," + text if slots else text)


def _within(
    body: bytes, slots: list[_Slot], index: int, rest: tuple[str, ...], new: bytes | _Last
) -> Iterator[_Splice]:
    """The changes inside one slot that exists."""
    slot = slots[index]
    if not rest:
        if isinstance(new, bytes):
            yield _Splice(slot.value, slot.end, new)
        else:
            yield _removal(slots, index)
    elif body[slot.value : slot.value + 1] in (b"{", b"["):
        yield from _splices(body, slot.value, rest, new)
    elif isinstance(new, bytes):
        created = _created(rest, new)
        if created is not None:
            yield _Splice(slot.value, slot.end, created)


def _removal(slots: list[_Slot], index: int) -> _Splice:
    """A slot goes with one comma beside it: the one behind it or, for the last, the one before."""
    if index + 1 < len(slots):
        return _Splice(slots[index].start, slots[index + 1].start, b"")
    start = slots[index - 1].end if index else slots[index].start
    return _Splice(start, slots[index].end, b"")


def _created(elements: tuple[str, ...], new: bytes) -> bytes | None:
    """The JSON text that holds `new` at the end of `elements`; None if "every item" is of nothing."""
    text = new
    for element in reversed(elements):
        if element == "#":
            return None
        if element == "-1" or _INDEX.fullmatch(element):
            padding = 0 if element == "-1" else _bounded(element)
            text = b"[" + b"null," * padding + text + b"]"
        else:
            text = b"{" + msgspec.json.encode(element) + b":" + text + b"}"
    return text


def _array_index(element: str, size: int, *, deleting: bool) -> tuple[int | None, int]:
    """Which item is meant (None: a new one), and how many nulls a new one needs before it."""
    if element == "-1":
        return (size - 1 if deleting and size else None), 0
    if not _INDEX.fullmatch(element):
        if deleting:
            return None, 0
        raise EditError(f"{element!r} is no index of an array")
    index = _bounded(element) if not deleting else int(element[:12])
    return index, max(0, index - size)


def _bounded(element: str) -> int:
    index = int(element[:12])
    if index > MAX_PADDING:
        raise EditError(f"the index {element} is beyond {MAX_PADDING}")
    return index


def _members(body: bytes, start: int) -> tuple[list[_Slot], int]:
    """The members of the object that begins at `start`, and where its closing brace stands."""
    slots: list[_Slot] = []
    position = match_end(SEPARATORS, body, start + 1)
    while body[position : position + 1] != b"}":
        key = STRING.match(body, position)
        colon = COLON.match(body, key.end()) if key else None
        if key is None or colon is None:
            raise NotJson(f"a key is expected at byte {position}")
        end = _end_of(body, colon.end())
        slots.append(_Slot(position, colon.end(), end, key_name(key.group())))
        position = match_end(SEPARATORS, body, end)
    return slots, position


def _items(body: bytes, start: int) -> tuple[list[_Slot], int]:
    """The items of the array that begins at `start`, and where its closing bracket stands."""
    slots: list[_Slot] = []
    position = match_end(SEPARATORS, body, start + 1)
    while body[position : position + 1] != b"]":
        end = _end_of(body, position)
        slots.append(_Slot(position, position, end))
        position = match_end(SEPARATORS, body, end)
    return slots, position


def _end_of(body: bytes, start: int) -> int:
    end = value_end(body, start)
    if end is None:
        raise NotJson(f"the value at byte {start} has no end")
    return end
