"""The page docs/commands.md, made of what the commands declare: `python -m swapd.cli.reference FILE`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn
from unittest.mock import patch

from swapd.cli.arguments import FlagParser
from swapd.cli.client_command import ClientParser
from swapd.cli.main import COMMANDS

_OF_ALL: Final = ("help", "debug")

_INTRODUCTION: Final = """\
# Commands

<!-- Made by `python -m swapd.cli.reference docs/commands.md`; edit the commands instead. -->

`swapd COMMAND --help` prints what is on this page. Without a command, or with flags only, `swapd` means
`swapd serve`.

A flag may be written with one dash or two, and with `=` or a blank before its value. One that is on or off
may stand alone or say which: `--watch-config=false`. Each has a twin in the environment, unless it says
otherwise: `--log-level` is `SWAPD_LOG_LEVEL`. The command line wins. All commands have `--help`, and
`--debug` for the traceback of an internal error.

What commands print is for people on a terminal, and without colour in a pipe. Errors go to standard error,
with a hint where there is one. The exit codes are in [troubleshooting](troubleshooting.md#exit-codes).
"""

_CLIENTS: Final = """\
## Commands that ask a running swapd

The commands below have these flags in common.
"""


class _Asked(Exception):
    """Ends a command where it would read its command line."""

    def __init__(self, parser: FlagParser) -> None:
        self.parser = parser


def reference() -> str:
    """The text of the page."""
    return "\n".join(_parts())


def parser_of(command: str) -> FlagParser:
    """The parser that a command makes, with all its flags."""

    def stop(self: FlagParser, *arguments: object) -> NoReturn:
        raise _Asked(self)

    run = importlib.import_module(f"swapd.cli.{command}").run
    try:
        with patch.object(FlagParser, "parse", stop):
            run([])
    except _Asked as asked:
        return asked.parser
    raise AssertionError(f"{command} reads no command line")


def _parts() -> Iterator[str]:
    parsers = {command: parser_of(command) for command in COMMANDS}
    common = ClientParser("", "").described()[2]
    clients = [command for command, parser in parsers.items() if isinstance(parser, ClientParser)]
    yield _INTRODUCTION
    yield from _list(parsers)
    for command, parser in parsers.items():
        if command not in clients:
            yield from _section(command, parser, ())
    if clients:
        yield _CLIENTS
        yield from _flags(common)
        for command in clients:
            yield from _section(command, parsers[command], [spelling for spelling, _ in common])


def _list(commands: Sequence[str] | dict[str, FlagParser]) -> Iterator[str]:
    yield "| command | what it does |\n|---|---|"
    for command in commands:
        yield f"| [`{command}`](#swapd-{command}) | {COMMANDS[command]} |"
    yield ""


def _section(command: str, parser: FlagParser, known: Sequence[str]) -> Iterator[str]:
    usage, what, flags = parser.described()
    yield f"## swapd {command}\n\n{_cell(what)}\n\n```text\n{usage}\n```\n"
    yield from _flags([flag for flag in flags if flag[0] not in known])


def _flags(flags: Sequence[tuple[str, str]]) -> Iterator[str]:
    shown = [(spelling, text) for spelling, text in flags if spelling.lstrip("-") not in _OF_ALL]
    if not shown:
        return
    yield "| flag | |\n|---|---|"
    for spelling, text in shown:
        yield f"| `{_cell(spelling)}` | {_cell(text)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
