"""`swapd reload`: have the daemon read its configuration again, and report what has changed.

Exit code 78 if the new configuration was rejected; then the old one stays in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from swapd.cli.client_command import ClientParser
from swapd.cli.errors import CliError, ExitCode
from swapd.cli.output import printable
from swapd.cli.progress import showing

_NAMED: Final = ("added", "removed", "restarted", "updated")


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "reload",
        "Have the daemon read its configuration again, and report what has changed.",
        epilog="Exit code 78 if it was rejected; then the old one stays in force.",
    )
    command = parser.open(argv)
    output = command.output
    with showing(output, "reloading"):
        status: dict[str, Any] = command.client.post("/api/config/reload", timeout_s=None, accepting=(422,))
    if output.as_json:
        output.document(status)
    if status["state"] == "rejected":
        if not output.as_json:
            for problem in status["error"]["problems"]:
                output.note(problem_text(problem))
        raise CliError(
            f"cannot reload: {printable(status['error']['message'])}",
            "mend it and reload again; the old configuration stays in force",
            ExitCode.CONFIG,
        )
    output.done(f"configuration reloaded: {_changes(status['changes'])}")
    if status["needs_restart"]:
        output.note(f"swapd: a restart of the daemon is needed for: {', '.join(status['needs_restart'])}")
    return ExitCode.OK


def _changes(changes: dict[str, list[str]]) -> str:
    """`1 restarted (owl), 2 unchanged`."""
    parts = [
        f"{len(changes[kind])} {kind} ({', '.join(map(printable, changes[kind]))})"
        for kind in _NAMED
        if changes[kind]
    ]
    return ", ".join([*parts, f"{len(changes['unchanged'])} unchanged"])


def problem_text(problem: dict[str, Any]) -> str:
    """`file:line:col: error[code] key.path: message`, and what may help, as `swapd check` prints it."""
    place = ":".join(str(problem[key]) for key in ("file", "line", "column") if problem.get(key) is not None)
    path = f" {problem['path']}" if problem.get("path") else ""
    lines = [f"{place}: " if place else ""]
    lines[0] += f"{problem['severity']}[{problem['code']}]{path}: {problem['message']}"
    lines += [f"  {note}" for note in problem.get("notes") or ()]
    if problem.get("hint"):
        lines.append(f"  hint: {problem['hint']}")
    return "\n".join(map(printable, lines))
