"""`swapd models`: what can be asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from swapd.cli.client import Client
from swapd.cli.client_command import ClientParser
from swapd.cli.errors import ExitCode
from swapd.cli.output import UNKNOWN, Cell, Column, duration, moment, state

COLUMNS: Final = (
    Column("MODEL", cut=True),
    Column("STATE"),
    Column("ALIASES", cut=True),
    Column("TYPE"),
    Column("CONTEXT", right=True),
    Column("CAPABILITIES", cut=True),
    Column("TTL LEFT", right=True),
)


def run(argv: Sequence[str]) -> int:
    parser = ClientParser("models", "List the models that can be asked for.")
    parser.add_switch("all", "unlisted models, those of peers, and selectors too", twin=False)
    command = parser.open(argv)
    entries = _entries(command.client, everything=bool(command.values["all"]))
    if command.output.as_json:
        command.output.document({"models": entries})
    else:
        command.output.table(COLUMNS, [_row(entry, time.time()) for entry in entries])
    return ExitCode.OK


def _entries(client: Client, *, everything: bool) -> list[dict[str, Any]]:
    """Those of `/api/models` with a `type`, and after them the selectors."""
    entries = [
        {"type": "peer" if entry["peerID"] else "model", **entry}
        for entry in client.get("/api/models")["models"]
        if everything or not (entry["unlisted"] or entry["peerID"])
    ]
    if everything:
        entries += _selectors(client)
    return entries


def _selectors(client: Client) -> list[dict[str, Any]]:
    """They stand in the list for clients of the API alone."""
    found = []
    for record in client.get("/v1/models")["data"]:
        meta = record.get("meta", {}).get("llamaswap", {})
        if meta.get("type") == "selector":
            found.append(
                {
                    "type": "selector",
                    "id": record["id"],
                    "name": record.get("name", ""),
                    "description": record.get("description", ""),
                    "state": "",
                    "strategy": meta.get("strategy"),
                    "targets": meta.get("targets", []),
                }
            )
    return found


def _row(entry: dict[str, Any], now: float) -> list[Cell]:
    context = entry.get("context_length")
    expires = moment(entry.get("expires_at"))
    capabilities = [name for name, has in (entry.get("capabilities") or {}).items() if has]
    return [
        entry["id"],
        state(entry["state"]),
        ", ".join(entry.get("aliases", ())) or UNKNOWN,
        entry["type"],
        str(context) if context else UNKNOWN,
        ", ".join(capabilities) or UNKNOWN,
        duration(None if expires is None else expires - now),
    ]
