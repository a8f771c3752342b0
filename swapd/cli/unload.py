"""`swapd unload`: stop models, by default when the requests they serve have ended."""

from __future__ import annotations

from collections.abc import Sequence

from swapd.cli.client import segment
from swapd.cli.client_command import ClientParser
from swapd.cli.errors import ExitCode
from swapd.cli.model_names import find_model
from swapd.cli.output import printable
from swapd.cli.progress import showing


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "unload",
        "Stop models, and wait until they have stopped. Requests in progress end first.",
        usage="swapd unload MODEL…|--all [flags]",
    )
    parser.add_switch("all", "stop all models", twin=False)
    parser.add_switch("now", "do not wait for requests in progress", twin=False)
    parser.add_words("MODEL")
    command = parser.open(argv)
    if bool(command.values["all"]) == bool(command.words):
        parser.fail("say which models, or --all")
    query = {} if command.values["now"] else {"drain": 1}
    ids = [find_model(command.client, name, "unload")["id"] for name in command.words]
    for id in ids or [None]:
        what = "all models" if id is None else id
        path = "" if id is None else f"/{segment(id)}"
        with showing(command.output, what) as work:
            work.phase("waiting for the last requests" if query else "stopping")
            command.client.post(f"/api/models/unload{path}", query=query, timeout_s=None)
        if command.output.as_json:
            command.output.record({"model": id, "state": "stopped"})
        command.output.done(f"{printable(what)}: stopped")
    return ExitCode.OK
