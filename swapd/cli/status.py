"""`swapd status`: the daemon on one screen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from swapd.cli import ps
from swapd.cli.client import ApiError, Client
from swapd.cli.client_command import ClientParser
from swapd.cli.errors import ExitCode
from swapd.cli.output import Cell, Styled, duration, local_time, printable


def run(argv: Sequence[str]) -> int:
    command = ClientParser("status", "Show the daemon on one screen.").open(argv)
    client, output = command.client, command.output
    status: dict[str, Any] = client.get("/api/status")
    if output.as_json:
        output.document(status)
        return ExitCode.OK
    for name, value in _facts(client, status):
        output.line(Styled(f"{name:10}", "bold"), value)
    running = ps.running_entries(client.get("/api/models")["models"])
    if running:
        output.line()
        output.table(ps.COLUMNS, [ps.row(entry, time.time()) for entry in running])
    return ExitCode.OK


def _facts(client: Client, status: dict[str, Any]) -> list[tuple[str, Cell]]:
    config = status["config"]
    rejected = config["state"] == "rejected"
    facts: list[tuple[str, Cell]] = [
        ("swapd", f"{status['version']} ({status['commit']}) at {client.address.url}"),
        ("up", f"{duration(status['uptime_s'])}, since {local_time(status['started_at'])}"),
        ("state", _phase(status)),
        (
            "config",
            Styled(f"{config['state']}, generation {config['generation']}", "red" if rejected else "green"),
        ),
    ]
    if rejected and (why := _why_rejected(client)):
        facts.append(("", why))
    models = status["models"]
    counts = ", ".join(f"{number} {state}" for state, number in models.items() if number)
    return [
        *facts,
        ("models", counts or "none"),
        ("requests", f"{status['inflight']} in flight, {status['queued']} queued"),
    ]


def _phase(status: dict[str, Any]) -> Cell:
    if status["stopping"]:
        return Styled("stopping", "yellow")
    return Styled("ready", "green") if status["ready"] else Styled("not ready", "yellow")


def _why_rejected(client: Client) -> str:
    """What is wrong with the newest configuration; empty if we may not know."""
    try:
        error = client.get("/api/config/status")["error"]
    except ApiError:
        return ""
    return printable(error["message"]) if error else ""
