"""Merging the files of one configuration into one tree.

Sections merge key by key, lists are appended, equal scalars may be repeated. Maps of named things (models,
groups, …) must not define one name twice: two files that both describe a model are a mistake.
"""

from __future__ import annotations

from swapd.config.nodes import Entry, Mapping, Node, Scalar, Sequence, is_null, kind_of
from swapd.config.problems import KeyPath, ProblemLog, dotted, quoted

_IDENTITY_MAPS: frozenset[KeyPath] = frozenset(
    {
        ("models",),
        ("groups",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("matrix",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    }
)


def merge_all(roots: list[Mapping], log: ProblemLog) -> Mapping | None:
    """Merge the roots in order, or None without any."""
    if not roots:
        return None
    merged = roots[0]
    for root in roots[1:]:
        merged = _merge_mappings(merged, root, (), log)
    return merged


def _merge(left: Node, right: Node, path: KeyPath, log: ProblemLog) -> Node:
    if is_null(left):
        return right
    if is_null(right):
        return left
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if path in _IDENTITY_MAPS:
            return _unite(left, right, path, log)
        return _merge_mappings(left, right, path, log)
    if path in _IDENTITY_MAPS or type(left) is not type(right):
        return _refuse_kinds(left, right, path, log)
    if isinstance(left, Sequence) and isinstance(right, Sequence):
        return Sequence(left.source, left.start, left.end, [*left.items, *right.items])
    assert isinstance(left, Scalar)
    assert isinstance(right, Scalar)
    if left.text != right.text or type(left.value) is not type(right.value):
        _refuse_values(left, right, path, log)
    return left


def _merge_mappings(left: Mapping, right: Mapping, path: KeyPath, log: ProblemLog) -> Mapping:
    entries = dict(left.entries)
    for key, entry in right.entries.items():
        known = entries.get(key)
        if known is None:
            entries[key] = entry
        else:
            entries[key] = Entry(known.key, _merge(known.value, entry.value, (*path, key), log))
    return left.with_entries(entries)


def _unite(left: Mapping, right: Mapping, path: KeyPath, log: ProblemLog) -> Mapping:
    entries = dict(left.entries)
    for key, entry in right.entries.items():
        known = entries.setdefault(key, entry)
        if known is not entry:
            log.error(
                "merge-duplicate",
                f"{quoted(key)} under {dotted(path)} is defined in {known.key.source.name} and in "
                f"{entry.key.source.name}",
                at=entry.key,
                path=(*path, key),
                hint="keep one of them, or rename it",
                notes=(f"first defined at {log.where(known.key)}",),
            )
    return left.with_entries(entries)


def _refuse_kinds(left: Node, right: Node, path: KeyPath, log: ProblemLog) -> Node:
    log.error(
        "merge-kind",
        f"{dotted(path)} is a {kind_of(left)} in {left.source.name} and a {kind_of(right)} in "
        f"{right.source.name}",
        at=right,
        path=path,
        hint="give it the same shape in both files",
        notes=(f"first given at {log.where(left)}",),
    )
    return left


def _refuse_values(left: Scalar, right: Scalar, path: KeyPath, log: ProblemLog) -> None:
    log.error(
        "merge-conflict",
        f"{dotted(path)} has different values in {left.source.name} and {right.source.name}",
        at=right,
        path=path,
        hint="keep it in one file",
        notes=(f"first given at {log.where(left)}",),
    )
