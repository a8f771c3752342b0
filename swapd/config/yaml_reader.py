"""From YAML text to a document tree.

The library scans and parses; resolving types, anchors, merge keys and duplicate keys happens here on its
events, because the dialect fits none of the stock resolvers and every node must keep its position.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from swapd.config.nodes import Entry, Mapping, Node, Scalar, Sequence
from swapd.config.problems import KeyPath, ProblemLog, quoted
from swapd.config.scalars import resolve, resolve_tagged
from swapd.config.sources import SourceText
from swapd.config.yaml_errors import error_offset, explain_syntax
from swapd.config.yaml_scanner import yaml_events

MERGE_KEY = "<<"
MAX_DEPTH = 128
MAX_EXPANDED_NODES = 400_000  # what aliases may multiply a document to ("billion laughs")


def parse(source: SourceText, log: ProblemLog) -> Node | None:
    """The tree of the first document, or None when there is none or the text is not YAML.

    Every finding goes to `log`; a tree is returned only if the text parsed.
    """
    events = yaml_events(source.text)
    builder = _Builder(source, log)
    finished = False
    try:
        for event in events:
            if isinstance(event, DocumentStartEvent) and finished:
                _warn_extra_documents(source, event.start_mark.index, log)
                break
            if isinstance(event, DocumentEndEvent):
                finished = True
            else:
                builder.take(event)
    except YAMLError as error:
        if not finished:
            _report_syntax(source, error, log)
            return None
        _warn_extra_documents(source, error_offset(error), log)
    except _RefusedError as error:
        span = (source, error.offset, error.offset + 1)
        log.error(error.code, str(error), span=span, hint=error.hint)
        return None
    return builder.root


def _warn_extra_documents(source: SourceText, offset: int, log: ProblemLog) -> None:
    log.warning(
        "extra-documents",
        "only the first YAML document of a file counts; what follows is ignored",
        span=(source, offset, offset + 3),
        hint="put further documents into files of their own and name each with --config",
    )


def _report_syntax(source: SourceText, error: YAMLError, log: ProblemLog) -> None:
    trouble = explain_syntax(source, error)
    span = (source, trouble.offset, trouble.offset + 1)
    log.error("yaml-syntax", trouble.message, span=span, hint=trouble.hint)


class _RefusedError(Exception):
    """Something that makes it pointless to build the rest of the tree."""

    def __init__(self, message: str, offset: int, hint: str, code: str = "yaml-syntax") -> None:
        super().__init__(message)
        self.code = code
        self.offset = offset
        self.hint = hint


@define(eq=False)
class _Frame:
    """A collection whose end has not been seen: what it holds so far, and the key awaiting its value."""

    start: int
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(factory=list)
    entries: dict[str, Entry] = field(factory=dict)
    merges: list[tuple[Scalar, Node]] = field(factory=list)
    key: Scalar | None = None
    size: int = 1


@define(eq=False)
class _Builder:
    """Builds the tree bottom-up from parser events, without recursion."""

    source: SourceText
    log: ProblemLog
    root: Node | None = None
    _stack: list[_Frame] = field(factory=list)
    _anchors: dict[str, tuple[Node | None, int]] = field(factory=dict)
    _ends_at: int = 0

    def take(self, event: Any) -> None:
        kind = type(event)
        if kind is ScalarEvent:
            self._add(self._scalar(event), 1, event.anchor)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            self._open(event, is_mapping=kind is MappingStartEvent)
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            self._close(event)
        elif kind is AliasEvent:
            self._alias(event)

    def _scalar(self, event: Any) -> Scalar:
        start, end = event.start_mark.index, event.end_mark.index
        text: str = event.value
        style = event.style or ""
        tag = event.tag
        if tag is not None:
            try:
                value = resolve_tagged(text, tag)
            except ValueError as error:
                hint = "remove the tag, or write a value that fits it"
                raise _RefusedError(f"{quoted(text)} is {error}", start, hint) from None
        else:
            value = text if style else resolve(text)
        scalar = Scalar(self.source, start, end, value, text, style)
        if self.source.edits:
            scalar.from_environment = bool(self.source.edits_within(start, end))
        self._ends_at = end
        return scalar

    def _open(self, event: Any, *, is_mapping: bool) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _RefusedError(
                f"nested deeper than {MAX_DEPTH} levels",
                event.start_mark.index,
                "look for brackets that are never closed",
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = (None, 0)
        self._stack.append(_Frame(event.start_mark.index, event.anchor, is_mapping))
        self._ends_at = event.end_mark.index

    def _close(self, event: Any) -> None:
        frame = self._stack[-1]
        if frame.merges:
            self._merge(frame)
        self._stack.pop()
        # A flow collection ends at its bracket; a block collection where its last value ended.
        end = event.end_mark.index if event.end_mark.index > event.start_mark.index else self._ends_at
        self._ends_at = end
        node: Node
        if frame.is_mapping:
            node = Mapping(self.source, frame.start, end, frame.entries)
        else:
            node = Sequence(self.source, frame.start, end, frame.items)
        self._add(node, frame.size, frame.anchor)

    def _alias(self, event: Any) -> None:
        name, start, end = event.anchor, event.start_mark.index, event.end_mark.index
        span = (self.source, start, end)
        known = self._anchors.get(name)
        node: Node | None = None
        size = 1
        if known is None:
            self.log.error(
                "yaml-anchor",
                f"the alias *{name} has no anchor &{name} above it in this file",
                span=span,
                path=self._place(),
                hint="anchors are local to their file and must stand before their use",
            )
        else:
            node, size = known
            if node is None:
                self.log.error(
                    "yaml-anchor",
                    f"the anchor &{name} contains itself",
                    span=span,
                    path=self._place(),
                    hint="an alias stands for the whole anchored value, so it cannot stand inside it",
                )
        if node is None:
            node, size = Scalar(self.source, start, end, None, ""), 1
        else:
            self.source.alias_targets.append(node.start)
        self._ends_at = end
        self._add(node, size, None)

    def _add(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        frame.size += size
        if frame.size > MAX_EXPANDED_NODES:
            raise _RefusedError(
                f"the aliases of this document expand to more than {MAX_EXPANDED_NODES} values",
                node.start,
                "let fewer aliases stand for values that hold aliases themselves",
                "yaml-anchor",
            )
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is None:
            if not isinstance(node, Scalar):
                raise _RefusedError(
                    "a key must be a single value, not a list or a mapping",
                    node.start,
                    "put a key that starts with [ or { into quotes",
                )
            frame.key = node
        else:
            self._add_entry(frame, frame.key, node)
            frame.key = None

    def _add_entry(self, frame: _Frame, key: Scalar, value: Node) -> None:
        text = key.text
        is_merge = text == MERGE_KEY and not key.style and not self._is_macro_block()
        if is_merge and not frame.merges:
            frame.merges.append((key, value))
            return
        first = frame.merges[0][0] if is_merge else None
        if first is None and text in frame.entries:
            first = frame.entries[text].key
        if first is None:
            frame.entries[text] = Entry(key, value)
            return
        line, first_line = key.position()[0], first.position()[0]
        frame.key = None
        self.log.error(
            "yaml-dup-key",
            f"the key {quoted(text)} appears twice in one mapping, on lines {first_line} and {line}",
            at=key,
            path=(*self._path(), text),
            hint="remove one of them",
        )

    def _merge(self, frame: _Frame) -> None:
        """Resolve `<<`: own keys win wherever they stand, in a list the earlier mapping wins."""
        for key, value in frame.merges:
            sources = value.items if isinstance(value, Sequence) else [value]
            for source in sources:
                if not isinstance(source, Mapping):
                    self.log.error(
                        "yaml-merge-key",
                        "<< takes a mapping, an alias to one, or a list of those",
                        at=key,
                        path=(*self._path(), MERGE_KEY),
                        hint="name the anchor of a mapping, e.g. <<: *defaults",
                    )
                    continue
                for name, entry in source.entries.items():
                    frame.entries.setdefault(name, entry)

    def _path(self) -> KeyPath:
        """The key path of the collection on top of the stack."""
        path: list[str | int] = []
        for frame in self._stack[:-1]:
            if frame.is_mapping:
                path.append(frame.key.text if frame.key else MERGE_KEY)
            else:
                path.append(len(frame.items))
        return tuple(path)

    def _place(self) -> KeyPath:
        """The key path of the value that comes next."""
        if not self._stack:
            return ()
        frame = self._stack[-1]
        step: str | int = len(frame.items)
        if frame.is_mapping:
            step = frame.key.text if frame.key else MERGE_KEY
        return (*self._path(), step)

    def _is_macro_block(self) -> bool:
        """True right inside `macros` at top level or in a model, where `<<` is an ordinary (bad) name."""
        depth = len(self._stack)
        if depth not in (2, 4):
            return False
        path = self._path()
        return path == ("macros",) or (depth == 4 and path[0] == "models" and path[2] == "macros")
