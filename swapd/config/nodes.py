"""The document tree between YAML and the typed configuration.

Nodes are never changed once built: replacing a macro or merging files makes new nodes and shares the
rest. Each knows the span of its source text, so any later finding can be shown where it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from swapd.config.sources import SourceText

Value: TypeAlias = "bool | int | float | str | Timestamp | None"


class Timestamp(str):
    """A YAML timestamp as its RFC 3339 text. Not an ordinary string: a macro may not be one."""

    __slots__ = ()


class Node:
    """A value with the span of text it was written in (offsets into the parsed text of `source`)."""

    __slots__ = ("end", "has_references", "source", "start")

    source: SourceText
    start: int
    end: int
    has_references: bool  # some string in here holds "${"

    def position(self) -> tuple[int, int]:
        return self.source.position(self.start)

    @property
    def holds_alias_target(self) -> bool:
        """True when an anchor inside this node is used somewhere in its file."""
        return any(self.start <= target <= self.end for target in self.source.alias_targets)


class Scalar(Node):
    """A single value.

    `text` is what stood in the file, without quotes; `value` its resolved type. `style` is the quote or block
    character, empty for a plain scalar. After macro replacement both hold the new value, and `original`
    is the scalar as it was read. `from_environment` says that a variable contributed to it, `macros` which
    macros did: their names and the nodes they were defined at.
    """

    __slots__ = ("from_environment", "macros", "original", "style", "text", "value")

    def __init__(
        self,
        source: SourceText,
        start: int,
        end: int,
        value: Value,
        text: str,
        style: str = "",
    ) -> None:
        self.source = source
        self.start = start
        self.end = end
        self.value = value
        self.text = text
        self.style = style
        self.original: Scalar = self
        self.from_environment = False
        self.macros: tuple[tuple[str, Scalar], ...] = ()
        self.has_references = type(value) is str and "${" in value

    def replaced(
        self,
        value: Value,
        text: str,
        *,
        from_environment: bool,
        macros: tuple[tuple[str, Scalar], ...] = (),
    ) -> Scalar:
        """The same place in the file with another value, as macro replacement makes it."""
        scalar = Scalar(self.source, self.start, self.end, value, text, self.style)
        scalar.original = self.original
        scalar.from_environment = self.from_environment or from_environment
        scalar.macros = self.macros + macros
        return scalar


class Sequence(Node):
    __slots__ = ("items",)

    def __init__(self, source: SourceText, start: int, end: int, items: list[Node]) -> None:
        self.source = source
        self.start = start
        self.end = end
        self.items = items
        self.has_references = any(item.has_references for item in items)


class Entry:
    """One key of a mapping with its value; `key` is a scalar, compared by its text."""

    __slots__ = ("key", "value")

    def __init__(self, key: Scalar, value: Node) -> None:
        self.key = key
        self.value = value


class Mapping(Node):
    __slots__ = ("entries",)

    def __init__(self, source: SourceText, start: int, end: int, entries: dict[str, Entry]) -> None:
        self.source = source
        self.start = start
        self.end = end
        self.entries = entries
        self.has_references = any(entry.value.has_references for entry in entries.values())

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return None if entry is None else entry.value

    def items(self) -> Iterator[tuple[str, Node]]:
        for key, entry in self.entries.items():
            yield key, entry.value

    def with_entries(self, entries: dict[str, Entry]) -> Mapping:
        return Mapping(self.source, self.start, self.end, entries)


def is_null(node: Node | None) -> bool:
    """True for a missing node and for every spelling of null."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def path_at(node: Node, offset: int) -> tuple[str | int, ...]:
    """The key path of the innermost value, or key, at an offset of the parsed text."""
    if isinstance(node, Mapping):
        for name, entry in node.entries.items():
            if entry.key.start <= offset < max(entry.value.end, entry.key.end):
                return (name, *path_at(entry.value, offset))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            if item.start <= offset < item.end:
                return (index, *path_at(item, offset))
    return ()


def path_of(node: Node, wanted: Node) -> tuple[str | int, ...] | None:
    """The key path of a node within a tree, None when it is not in it."""
    if node is wanted:
        return ()
    children: list[tuple[str | int, Node]] = []
    if isinstance(node, Mapping):
        children = list(node.items())
    elif isinstance(node, Sequence):
        children = list(enumerate(node.items))
    for step, child in children:
        path = path_of(child, wanted)
        if path is not None:
            return (step, *path)
    return None


def kind_of(node: Node) -> str:
    """What a node is, in the words of an error message: "string", "int", "list", …"""
    if isinstance(node, Mapping):
        return "mapping"
    if isinstance(node, Sequence):
        return "list"
    assert isinstance(node, Scalar)
    return kind_of_value(node.value)


def kind_of_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, Timestamp):
        return "timestamp"
    if isinstance(value, str):
        return "string"
    return "mapping" if isinstance(value, dict) else "list"
