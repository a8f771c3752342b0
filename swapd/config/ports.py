"""Numbering the ports of models that ask for one.

A fresh start numbers them in byte order of the model IDs from `startPort` upwards. On a reload a model that
had a port keeps it, whatever else changed, so adding a model does not move the ports of those that run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct


class PortsBefore(Struct, frozen=True):
    """What there was before a reload: ports `assigned` by model ID, and those that processes still use."""

    assigned: Mapping[str, int] = MappingProxyType({})
    busy: frozenset[int] = frozenset()


def assign_ports(
    start: int, asking: Iterable[str], sticky: Mapping[str, int], busy: Collection[int]
) -> dict[str, int]:
    """The port of each asking model.

    `sticky` holds the ports assigned before, which models that still ask keep; `busy` those that processes
    use, of models that were removed or changed too. Both are avoided.
    """
    ids = sorted(asking)
    ports = {id: sticky[id] for id in ids if id in sticky}
    taken = {*ports.values(), *busy}
    next_port = start
    for id in ids:
        if id in ports:
            continue
        while next_port in taken:
            next_port += 1
        ports[id] = next_port
        next_port += 1
    return ports
