"""`swapd ps`: the models that are not stopped, and what their servers are doing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from swapd.cli.client_command import ClientParser, Invocation
from swapd.cli.errors import ExitCode
from swapd.cli.output import UNKNOWN, Cell, Column, duration, moment, size, state

WATCH_INTERVAL_S: Final = 2.0

COLUMNS: Final = (
    Column("MODEL", cut=True),
    Column("STATE"),
    Column("PID", right=True),
    Column("PORT", right=True),
    Column("UPTIME", right=True),
    Column("LOAD", right=True),
    Column("IN FLIGHT", right=True),
    Column("QUEUED", right=True),
    Column("RSS", right=True),
    Column("VRAM", right=True),
    Column("UNLOADS IN", right=True),
)


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "ps",
        "List the models that are not stopped, and what their servers are doing.",
        epilog="With --watch --json, each look is one line of JSON.",
    )
    parser.add_switch("watch", "look again every two seconds, until Ctrl-C", short="w")
    command = parser.open(argv)
    if command.values["watch"]:
        _watch(command)
    entries = running_entries(command.client.get("/api/models")["models"])
    if command.output.as_json:
        command.output.document({"models": entries})
    else:
        command.output.table(COLUMNS, [row(entry, time.time()) for entry in entries])
    return ExitCode.OK


def running_entries(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of models that have a server, or are about to."""
    return [
        entry
        for entry in entries
        if not entry["peerID"] and (entry["state"] not in ("stopped", "shutdown") or entry.get("queued"))
    ]


def row(entry: dict[str, Any], now: float) -> list[Cell]:
    """One line of the table; `now` in seconds since the epoch."""
    started, expires = moment(entry.get("started_at")), moment(entry.get("expires_at"))
    loaded_ms = entry.get("load_ms")
    vram = entry.get("vram")
    return [
        entry["id"],
        state(entry["state"]),
        str(entry.get("pid") or UNKNOWN),
        str(entry.get("port") or UNKNOWN),
        duration(None if started is None else now - started),
        duration(None if loaded_ms is None else loaded_ms / 1000),
        str(entry.get("inflight", 0)),
        str(entry.get("queued", 0)),
        size(entry.get("rss_mb")),
        size(sum(gpu["mb"] for gpu in vram) if vram else None),
        _unloads_in(entry, expires, now),
    ]


def _unloads_in(entry: dict[str, Any], expires: float | None, now: float) -> str:
    if entry.get("pinned_by") is not None:
        return "kept"
    if expires is not None:
        return duration(expires - now)
    return UNKNOWN if entry.get("ttl_s") else "never"


def _watch(command: Invocation) -> None:
    """Show the table again and again, in its old place if that is a terminal. Ends with Ctrl-C."""
    output = command.output
    if output.is_terminal and not output.as_json:
        print("\x1b[2J", end="")
    while True:
        entries = running_entries(command.client.get("/api/models")["models"])
        if output.as_json:
            output.record({"models": entries})
        else:
            lines = output.table_lines(COLUMNS, [row(entry, time.time()) for entry in entries])
            if output.is_terminal:
                # Home, each line with what is right of it erased, then what is below: no flicker.
                print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
            else:
                print("\n".join(lines), flush=True)
        time.sleep(WATCH_INTERVAL_S)
