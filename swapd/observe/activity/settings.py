"""What the configuration decides about the activity store."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct


class StoreSettings(Struct, frozen=True):
    """Where rows are kept and how many. `path` None is in memory, with `max_in_memory` rows at most."""

    path: Path | None = None
    max_in_memory: int = 1000
    max_age_s: float = 0.0
    max_rows: int = 0
    max_bytes: int = 0
