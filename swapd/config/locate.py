"""Finding the place of a typed value again, for checks that look at several values at once."""

from __future__ import annotations

from msgspec import Struct

from swapd.config.nodes import Mapping, Node, Scalar, Sequence, is_null
from swapd.config.problems import KeyPath, ProblemLog


class Places(Struct, frozen=True, eq=False):
    """Reports problems by key path, looking up the node in the document.

    The index of a list item in a key path given here counts the items that were kept; the one in the report
    counts null items too, as the user does.
    """

    root: Mapping
    log: ProblemLog

    def error(
        self,
        code: str,
        path: KeyPath,
        message: str,
        hint: str = "",
        *,
        notes: tuple[str, ...] = (),
        key: bool = False,
    ) -> None:
        """An error at the value of a key path, or at its key."""
        written, node = self.find(path, key=key)
        self.log.error(code, message, at=node, path=written, hint=hint, notes=notes)

    def warning(self, code: str, path: KeyPath, message: str, hint: str = "", *, key: bool = False) -> None:
        written, node = self.find(path, key=key)
        self.log.warning(code, message, at=node, path=written, hint=hint)

    def advice(self, code: str, path: KeyPath, message: str, hint: str = "") -> None:
        written, node = self.find(path)
        self.log.advice(code, message, at=node, path=written, hint=hint)

    def where(self, path: KeyPath, *, key: bool = False) -> str:
        """The place of a key path as `file:line:column`."""
        return self.log.where(self.find(path, key=key)[1])

    def find(self, path: KeyPath, *, key: bool = False) -> tuple[KeyPath, Node]:
        """The key path as written and the node there; where there is none, the nearest key above it."""
        node: Node = self.root
        last_key: Node = self.root
        written: list[str | int] = []
        for step in path:
            written.append(step)
            if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
                entry = node.entries[step]
                node, last_key = entry.value, entry.key
            elif isinstance(node, Sequence) and isinstance(step, int):
                index = _kept_index(node, step)
                if index is None:
                    return tuple(path), last_key
                written[-1] = index
                node = last_key = node.items[index]
            else:
                return tuple(path), last_key
        at_key = key or is_null(node) or (isinstance(node, Mapping) and not node.entries)
        return tuple(written), last_key if at_key else node

    def value(self, *path: str | int) -> Node | None:
        """The node at a key path, None when it is missing."""
        node: Node | None = self.root
        for step in path:
            if isinstance(node, Mapping) and isinstance(step, str):
                node = node.get(step)
            else:
                return None
        return node

    def is_given(self, *path: str) -> bool:
        """True when the key is there and not null."""
        return not is_null(self.value(*path))


def _kept_index(node: Sequence, position: int) -> int | None:
    for index, item in enumerate(node.items):
        if isinstance(item, Scalar) and item.value is None:
            continue
        if position == 0:
            return index
        position -= 1
    return None
