"""`swapd top`: the daemon on the whole screen, as it changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Final, NoReturn

from swapd.cli.client_command import ClientParser, Invocation
from swapd.cli.errors import ExitCode

INTERVAL_S: Final = 2.0


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "top",
        "Show models and requests on the whole screen, as they change.",
        epilog="The whole screen, with keys to load, unload, cancel and reload, needs Textual:\n"
        "pip install 'swapd[tui]'. Without it, in a pipe, or with --plain, it shows tables.",
        has_json=False,
    )
    parser.add_switch("plain", "show tables only")
    command = parser.open(argv)
    if not command.values["plain"] and command.output.is_terminal and sys.stdin.isatty():
        try:
            from swapd.cli.monitor.screen import Monitor
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "textual":
                raise
            command.output.note("swapd: the whole screen needs Textual: pip install 'swapd[tui]'")
            time.sleep(INTERVAL_S)
        else:
            monitor = Monitor(command.client)
            monitor.run()
            return monitor.return_code or ExitCode.OK
    return _show_tables(command)


def _show_tables(command: Invocation) -> NoReturn:
    """Show the tables again and again. Ends with Ctrl-C, or with the daemon."""
    from swapd.cli.monitor.picture import Picture
    from swapd.cli.monitor.rows import MODEL_COLUMNS, REQUEST_COLUMNS, headline, model_rows, request_rows

    client, output = command.client, command.output
    if output.is_terminal:
        print("\x1b[2J", end="")
    while True:
        picture = Picture()
        picture.begin(client.get("/api/status"))
        picture.apply("modelStatus", client.get("/api/models")["models"])
        with client.open("GET", "/api/events", {"types": "inflight"}, accept="text/event-stream") as answer:
            picture.apply(*next(answer.events()))
        lines = [
            headline(picture, client.address.url),
            "",
            *output.table_lines(MODEL_COLUMNS, model_rows(picture)),
            "",
            *output.table_lines(REQUEST_COLUMNS, request_rows(picture)),
        ]
        if output.is_terminal:
            print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
        else:
            print("\n".join(lines), flush=True)
        time.sleep(INTERVAL_S)
