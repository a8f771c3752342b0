"""Configuration texts that many scenarios share. JSON is YAML, so dicts will do."""

from __future__ import annotations

import json
from typing import Any


def config(models: dict[str, dict[str, Any]], **top: Any) -> str:
    """A configuration with these models, each with a command of its own, and these top-level keys."""
    written = {id: {"cmd": f"serve {id} --port ${{PORT}}", **keys} for id, keys in models.items()}
    return json.dumps({"models": written, **top})


def exclusive(*names: str, top: dict[str, Any] | None = None, **keys: Any) -> str:
    """Models that evict each other; all with the same `keys`."""
    return config(dict.fromkeys(names, keys), **(top or {}))


def free(*names: str, top: dict[str, Any] | None = None, **keys: Any) -> str:
    """Models that run side by side; all with the same `keys`."""
    return config(dict.fromkeys(names, keys), **groups(side_by_side=side_by_side(*names)), **(top or {}))


def groups(**groups: dict[str, Any]) -> dict[str, Any]:
    """The top-level key with these groups."""
    return {"groups": groups}


def side_by_side(*members: str, **switches: bool) -> dict[str, Any]:
    """A group whose members and neighbours are left alone."""
    return {"members": members, "swap": False, "exclusive": False, **switches}


def fifo(**settings: Any) -> dict[str, Any]:
    """The top-level key with these settings of the queue."""
    return {"routing": {"scheduler": {"settings": {"fifo": settings}}}}
