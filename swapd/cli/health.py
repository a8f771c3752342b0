"""`swapd health`: is the daemon there? For health checks of containers; prints nothing.

Exit code 0 if it is, 69 if nothing answers, 75 if it answers that it is not ready or takes longer than the
few seconds that a check has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from swapd.cli.client_command import ClientParser
from swapd.cli.errors import CliError, ExitCode

TIMEOUT_S: Final = 5.0


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "health",
        "Tell by the exit code alone whether the daemon is there.",
        epilog="0: it is; 69: nothing answers; 75: it is not ready, or takes longer than 5 s to answer.",
        has_json=False,
    )
    parser.add_switch("ready", "ask whether it takes requests, not only whether it lives")
    command = parser.open(argv)
    try:
        status, _ = command.client.status_of(
            "/ready" if command.values["ready"] else "/health", timeout_s=TIMEOUT_S
        )
    except CliError as error:
        return error.code
    if status == 200:
        return ExitCode.OK
    return ExitCode.BUSY if status == 503 else ExitCode.UNREACHABLE
