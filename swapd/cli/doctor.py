"""`swapd doctor`: look at this machine for what keeps swapd or its models from working.

Exit code 0 unless something cannot work, then 1. It changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import ExitCode
from swapd.cli.output import Output, Styled, printable

if TYPE_CHECKING:
    from swapd.cli.diagnosis.finding import Finding

_STYLES: Final = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}


def run(argv: Sequence[str]) -> int:
    from swapd.cli.progress import showing

    parser = _parser()
    values = parser.parse(argv, os.environ)
    output = Output(as_json=bool(values["json"]))
    with showing(output, "looking at this machine"):
        findings = list(_findings(parser, values))
    if output.as_json:
        output.document({"findings": [finding.as_json() for finding in findings]})
    else:
        _print(output, findings)
    failed = any(finding.level.value == "error" for finding in findings)
    return ExitCode.FAILED if failed else ExitCode.OK


def _parser() -> FlagParser:
    parser = FlagParser(
        "doctor",
        "Look at this machine for what keeps swapd or its models from working.",
        epilog="It changes nothing. Run it as the user that swapd runs as: permissions are that user's.\n"
        "Exit code 1 if something cannot work.",
    )
    parser.add_value("config", "configuration file; may be repeated", "FILE", Path, repeatable=True)
    parser.add_value("config-dir", "directory whose *.yml and *.yaml files are read", "DIR", Path)
    parser.add_value("listen", "the address that swapd is to have (default 127.0.0.1:8080)", "ADDRESS")
    parser.add_value("state-dir", "the directory that swapd keeps its state in", "DIR", Path)
    parser.add_switch("json", "print JSON")
    return parser


def _findings(parser: FlagParser, values: dict[str, Any]) -> Iterator[Finding]:
    from swapd.cli.diagnosis import machine, setup
    from swapd.cli.serve import default_places
    from swapd.config import Sources
    from swapd.supervision.state_directory import default_state_directory

    host, port = _address(parser, values["listen"] or "127.0.0.1:8080")
    yield from machine.look()
    files = tuple(values["config"] or ())
    if not files and values["config-dir"] is None:
        files = tuple(place for place in default_places(os.environ) if place.is_file())[:1]
    yield from setup.look_at_configuration(Sources(files, values["config-dir"]), os.environ)
    yield setup.look_at_state(values["state-dir"] or default_state_directory(os.environ))
    yield setup.look_at_address(host, port)
    yield setup.look_for_orphans()


def _address(parser: FlagParser, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        parser.fail(f"argument --listen: {text!r} is no address; write HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


def _print(output: Output, findings: Iterable[Finding]) -> None:
    counts = {"warning": 0, "error": 0}
    for finding in findings:
        level = finding.level.value
        if level in counts:
            counts[level] += 1
        output.line(
            Styled(f"{level:8}", _STYLES[level]), f"{printable(finding.subject)}: {printable(finding.what)}"
        )
        if finding.why:
            output.line(" " * 8, printable(finding.why))
        if finding.mend:
            output.line(" " * 8, Styled(f"hint: {printable(finding.mend)}", "cyan"))
    output.line()
    output.line(f"{_counted(counts['error'], 'error')}, {_counted(counts['warning'], 'warning')}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
