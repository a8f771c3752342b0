"""Numbering the ports of models that ask for one.

A fresh start numbers them in byte order of the model IDs from `startPort` upwards. On a reload a model that
had a port keeps it, whatever else changed, so adding a model does not move the ports of those that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def assign_ports(start: int, asking: Iterable[str], sticky: Mapping[str, int]) -> dict[str, int]:
    """The port of each asking model.

    `sticky` holds the ports in use before: those of models that still ask are kept, all others are avoided,
    as a process of a removed or changed model may still be using them.
    """
    ids = sorted(asking)
    ports = {id: sticky[id] for id in ids if id in sticky}
    taken = set(sticky.values())
    next_port = start
    for id in ids:
        if id in ports:
            continue
        while next_port in taken:
            next_port += 1
        ports[id] = next_port
        next_port += 1
    return ports
