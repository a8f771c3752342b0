"""`swapd profile`: show the profiles, or make another one the active one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from swapd.cli.client import ApiError, Client
from swapd.cli.client_command import ClientParser
from swapd.cli.errors import CliError, ExitCode
from swapd.cli.output import UNKNOWN, Column, Styled, printable

NONE: Final = "none"
COLUMNS: Final = (
    Column(""),
    Column("PROFILE"),
    Column("PINS", cut=True),
    Column("DESCRIPTION", cut=True),
)


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "profile",
        "Show the profiles, or switch to one of them, or to none.",
        usage=f"swapd profile [NAME|{NONE}] [flags]",
    )
    parser.add_words("NAME", 0, 1)
    command = parser.open(argv)
    client, output = command.client, command.output
    if command.words:
        active = _switch(client, command.words[0])
        if output.as_json:
            output.document({"active": active})
        output.done(f"profile: {printable(active or NONE)}")
        return ExitCode.OK
    found: dict[str, Any] = client.get("/api/profiles")
    if output.as_json:
        output.document(found)
        return ExitCode.OK
    active = found["active"]
    rows = [
        [
            Styled("*", "green") if profile["id"] == active else "",
            profile["id"],
            ", ".join(f"{name} → {target or 'off'}" for name, target in profile["pins"].items()),
            profile["description"] or UNKNOWN,
        ]
        for profile in found["profiles"]
    ]
    output.table(COLUMNS, rows)
    return ExitCode.OK


def _switch(client: Client, name: str) -> str | None:
    """Make it the active one, "none" for none; the id of the one that is active now."""
    try:
        answer = client.put("/api/profiles/active", {"name": None if name == NONE else name})
    except ApiError as error:
        if error.status != 404:
            raise
        known = [profile["id"] for profile in client.get("/api/profiles")["profiles"]]
        raise CliError(
            f"cannot switch to {printable(name)}: there is no profile of that name",
            f"there are {', '.join(map(printable, [*known, NONE]))}",
        ) from None
    active: str | None = answer["active"]
    return active
