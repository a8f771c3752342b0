"""One declaration per key.

A section of the configuration is a frozen attrs class whose fields are made by `key()`: YAML name, kind,
default, help. Loading, error texts, the JSON Schema, the reference page and the dump all read that one
declaration. Fields without a `Key` in their metadata are derived, not written by the user.
"""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, fields, frozen
from msgspec import Struct

from swapd.config.kinds import INVALID, Kind
from swapd.config.nodes import Entry, Mapping, Node, is_null
from swapd.config.problems import KeyPath, ProblemLog, dotted, listed, quoted

_METADATA = "swapd.key"
_FEW_KEYS = 12  # as many as a hint can name


class Key(Struct, frozen=True):
    """What is declared about a key. `extension` marks keys that only swapd has; `example` is YAML."""

    name: str
    kind: Kind
    help: str
    default_text: str | None = None
    extension: bool = False
    example: str = ""


def key(
    name: str,
    kind: Kind,
    help: str,
    *,
    default: Any,
    default_text: str | None = None,
    extension: bool = False,
    example: str = "",
    repr: bool = True,
) -> Any:
    """An attrs field for one key. `default_text` replaces the default in the reference page; `example` is a
    value as it would be written."""
    return field(
        default=default,
        repr=repr,
        metadata={_METADATA: Key(name, kind, help, default_text, extension, example)},
    )


_KEYS: dict[type[Any], dict[str, tuple[Attribute[Any], Key]]] = {}


def keys_of(section: type[Any]) -> dict[str, tuple[Attribute[Any], Key]]:
    """The keys of a section by their YAML names, in the order of declaration."""
    known = _KEYS.get(section)
    if known is None:
        known = _KEYS[section] = {
            declared.name: (attribute, declared)
            for attribute in fields(section)
            if (declared := attribute.metadata.get(_METADATA)) is not None
        }
    return known


@frozen
class Section(Kind):
    """A mapping with fixed keys, described by an attrs class."""

    of: type[Any]
    null_gives: Any = INVALID
    words: str = "a mapping"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> Any:
        if not isinstance(node, Mapping):
            return self.refuse(node, path, log)
        return self.of(**load_keys(self.of, node, path, log))

    def null_entry(self) -> Any:
        return self.null_gives

    def has_key(self, name: str) -> bool:
        return name in keys_of(self.of)


def load_keys(section: type[Any], node: Mapping, path: KeyPath, log: ProblemLog) -> dict[str, Any]:
    """Constructor arguments for the keys that are present and valid; unknown keys get a warning."""
    known = keys_of(section)
    arguments: dict[str, Any] = {}
    for name, entry in node.entries.items():
        declared = known.get(name)
        if declared is None:
            warn_unknown_key(name, entry, known, path, log)
            continue
        attribute, declaration = declared
        kind = declaration.kind
        if is_null(entry.value):
            if kind.collection:
                arguments[attribute.name] = kind.empty()
            continue
        value = kind.load(entry.value, (*path, name), log)
        if value is not INVALID:
            arguments[attribute.name] = value
    return arguments


def warn_unknown_key(name: str, entry: Entry, known: Any, path: KeyPath, log: ProblemLog) -> None:
    """Warn of a key that means nothing; a top-level place for anchors is legitimate."""
    from swapd.config.suggest import nearest  # difflib is not needed by a configuration without mistakes

    if not path and (name.startswith("x-") or entry.value.holds_alias_target):
        return
    suggestion = nearest(name, known)
    hint = f"did you mean {suggestion}?" if suggestion else _other_keys(known)
    place = f"in {dotted(path)}" if path else "at the top level"
    log.warning(
        "unknown-key",
        f"{quoted(name)} is not a key {place} and is ignored",
        at=entry.key,
        path=(*path, name),
        hint=hint if path or suggestion else "for a place of your own, e.g. for anchors, call it x-…",
    )


def _other_keys(known: Any) -> str:
    names = list(known)
    if len(names) <= _FEW_KEYS:
        return f"the keys here are {listed(names, 'and')}"
    return "docs/configuration.md lists the keys there are"
