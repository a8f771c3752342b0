"""Which swapd this is."""

from __future__ import annotations

from typing import Final, NamedTuple


class Build(NamedTuple):
    """`version` is dotted numbers; `commit` and `date` are "unknown" unless the package build filled them in.

    A named tuple, because `swapd --version` must not pay for importing anything.
    """

    version: str
    commit: str = "unknown"
    date: str = "unknown"

    def __str__(self) -> str:
        return f"version: {self.version} ({self.commit}), built at {self.date}"


BUILD: Final = Build(version="0.1.0")
