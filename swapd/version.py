"""Which swapd this is.

The build of a package notes version, commit and date in `swapd/_build.py`. A checkout has no such file.
"""

from __future__ import annotations

import importlib
from typing import Final, NamedTuple


class Build(NamedTuple):
    """`version` is one of PEP 440; `commit` and `date` (of the commit, UTC) are "unknown" in a checkout.

    A named tuple, because `swapd --version` must not pay for importing anything.
    """

    version: str
    commit: str = "unknown"
    date: str = "unknown"

    @property
    def release(self) -> str:
        """The version without what follows its numbers: `0.2.0` of `0.2.0.dev3+g1a2b3c4`."""
        numbers: list[str] = []
        for part in self.version.split("."):
            if not part.isdecimal():
                break
            numbers.append(part)
        return ".".join(numbers)

    def __str__(self) -> str:
        return f"version: {self.version} ({self.commit}), built at {self.date}"


CHECKOUT: Final = Build(version="0.1.0.dev0")


def _this_build() -> Build:
    try:
        built = importlib.import_module("swapd._build")
    except ModuleNotFoundError:
        return CHECKOUT
    return Build(built.VERSION, built.COMMIT, built.DATE)


BUILD: Final = _this_build()
