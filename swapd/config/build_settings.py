"""Checks and clamps of top-level settings (step 9)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve, fields

from swapd.config.configuration import RootKeys
from swapd.config.locate import Places
from swapd.config.model import MIN_HEALTH_TIMEOUT_S
from swapd.config.problems import quoted
from swapd.config.settings import ALWAYS_REDACTED, DEFAULT_IGNORED_PATHS, Settings
from swapd.config.units import duration_text

DEFAULT_UNLOAD_TIMEOUT_S = 10
DEFAULT_ROWS_IN_MEMORY = 1000
MIN_SAMPLE_INTERVAL_S = 5.0


def settle(keys: RootKeys, places: Places) -> RootKeys:
    """The keys with clamped and normalised settings; findings go to the log."""
    _check_intervals(keys, places)
    _check_store(keys, places)
    if places.is_given("logRequests"):
        text = "logRequests has no effect any more"
        places.warning("deprecated", ("logRequests",), text, "remove it", key=True)
    health = _clamped_health(keys, places)
    performance = keys.performance
    if performance.every_s == 0:
        performance = evolve(performance, every_s=MIN_SAMPLE_INTERVAL_S)
    ui = keys.ui
    headers = _without_repeats(ui.activity.session_headers)
    ui = evolve(ui, activity=evolve(ui.activity, session_headers=headers))
    upstream = keys.upstream
    if not upstream.ignore_paths:
        upstream = evolve(upstream, ignore_paths=DEFAULT_IGNORED_PATHS)
    captures = keys.captures
    redacted = _without_repeats((*ALWAYS_REDACTED, *captures.redact_headers))
    captures = evolve(captures, redact_headers=tuple(name.lower() for name in redacted))
    return evolve(
        keys,
        health_check_timeout_s=health,
        performance=performance,
        ui=ui,
        upstream=upstream,
        captures=captures,
        unload_timeout_s=keys.unload_timeout_s or DEFAULT_UNLOAD_TIMEOUT_S,
        metrics_max_in_memory=keys.metrics_max_in_memory
        if keys.metrics_max_in_memory > 0
        else DEFAULT_ROWS_IN_MEMORY,
        capture_buffer_mb=max(keys.capture_buffer_mb, 0),
    )


def passed_through(keys: RootKeys) -> dict[str, Any]:
    """The settings of the written root that the configuration takes over as they are."""
    return {attribute.name: getattr(keys, attribute.name) for attribute in fields(Settings)}


def _clamped_health(keys: RootKeys, places: Places) -> int:
    if keys.health_check_timeout_s >= MIN_HEALTH_TIMEOUT_S:
        return keys.health_check_timeout_s
    places.warning(
        "clamped",
        ("healthCheckTimeout",),
        f"healthCheckTimeout is {keys.health_check_timeout_s} and is raised to {MIN_HEALTH_TIMEOUT_S}",
        f"write {MIN_HEALTH_TIMEOUT_S} or more",
    )
    return MIN_HEALTH_TIMEOUT_S


def _check_intervals(keys: RootKeys, places: Places) -> None:
    every = keys.performance.every_s
    if every != 0 and every < MIN_SAMPLE_INTERVAL_S:
        places.error(
            "perf-every",
            ("performance", "every"),
            f"performance.every is {duration_text(every)}, but must be 5s or more",
            "permitted: 5s and above, also while sampling is disabled",
        )


def _check_store(keys: RootKeys, places: Places) -> None:
    if keys.store is None:
        return
    path = keys.store.path
    reason = _store_trouble(path)
    if reason:
        given = places.is_given("store", "path")
        places.error(
            "store-path",
            ("store", "path"),
            f"store.path {quoted(path, limit=500)} cannot be used: {reason}"
            if given
            else "the store has no path",
            "name a file in a directory that may be written, or remove store to keep rows in memory",
        )


def _store_trouble(path: str) -> str:
    if not path.strip():
        return "it is empty"
    if "\x00" in path:
        return "it holds a NUL"
    file = Path(path)
    try:
        if file.is_dir():
            return "it is a directory"
        if file.exists():
            return "" if os.access(file, os.W_OK) else "the file may not be written"
        if not file.parent.is_dir():
            return f"there is no directory {quoted(str(file.parent), limit=500)}"
        return "" if os.access(file.parent, os.W_OK | os.X_OK) else "its directory may not be written"
    except OSError as error:
        return error.strerror or "the path is not valid"


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    """Trimmed, without blanks, each name once whatever its case."""
    kept: dict[str, str] = {}
    for name in names:
        if name.strip():
            kept.setdefault(name.strip().lower(), name.strip())
    return tuple(kept.values())
