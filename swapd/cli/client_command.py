"""What all client commands share: the flags that say which daemon is meant, with which key, and how to print.

A command declares its own flags on a `ClientParser`, calls `open`, and has what it needs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from swapd.cli.arguments import FlagParser
from swapd.cli.client import DEFAULT_URL, Client, Trust, find_daemon
from swapd.cli.errors import CliError
from swapd.cli.output import Output

_NUMBER: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Invocation(NamedTuple):
    """A command line, understood."""

    client: Client
    output: Output
    values: dict[str, Any]
    """Flag name → value; None for what was not given."""
    words: list[str]


class ClientParser(FlagParser):
    """The flags of a client command, those that all of them have included."""

    def __init__(
        self, command: str, description: str, *, usage: str = "", epilog: str = "", has_json: bool = True
    ) -> None:
        super().__init__(command, description, usage=usage, epilog=epilog)
        self.add_value(
            "url",
            f"where swapd is: http://host:port, https://… or unix:///path "
            f"(default: its admin socket, else {DEFAULT_URL})",
            "URL",
        )
        self.add_value("api-key-file", "read the API key from this file; or set SWAPD_API_KEY", "FILE", Path)
        self.add_value("api-key", "the API key; others on this machine can see it", "KEY")
        self.add_value("ca-file", "trust certificates signed by these authorities (PEM)", "FILE")
        self.add_switch("insecure", "do not check the daemon's certificate")
        self.add_value("color", "auto, always or never (default auto)", "WHEN", _colour)
        self.add_switch("quiet", "print results only")
        if has_json:
            self.add_switch("json", "print JSON")

    def add_duration(self, name: str, help: str, *, twin: bool = True) -> None:
        """A flag with a time, in seconds once it is parsed."""
        self.add_value(name, help, "TIME", seconds, twin=twin)

    def open(self, argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Invocation:
        """Understand the command line and find the daemon. Connects to nothing but admin sockets, to see
        whether they are alive."""
        values = self.parse(argv, environ)
        output = Output(
            as_json=bool(values.get("json")),
            quiet=bool(values["quiet"]),
            colour=values["color"] or "auto",
            environ=environ,
        )
        key = self._key(values)
        trust = Trust(bool(values["insecure"]), values["ca-file"])
        client = Client(find_daemon(values["url"], environ), key, trust)
        return Invocation(client, output, values, self.words)

    def _key(self, values: Mapping[str, Any]) -> str | None:
        """The API key: from the command line before the environment, None if neither has one."""
        given = self.on_command_line
        if "api-key" in given:
            if "api-key-file" in given:
                self.fail("--api-key and --api-key-file exclude each other")
            print(
                "swapd: others on this machine can see --api-key; use --api-key-file FILE or SWAPD_API_KEY",
                file=sys.stderr,
            )
            return _checked_key(values["api-key"], "--api-key")
        if values["api-key-file"] is not None and ("api-key-file" in given or values["api-key"] is None):
            return _key_in(values["api-key-file"])
        return None if values["api-key"] is None else _checked_key(values["api-key"], "SWAPD_API_KEY")


def _key_in(file: Path) -> str:
    try:
        return _checked_key(file.read_text().strip(), str(file))
    except OSError as error:
        raise CliError(f"cannot read the API key from {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CliError(f"cannot read the API key from {file}: it is no text") from None


def _checked_key(key: str, place: str) -> str:
    """A key that can stand in a header."""
    if key and key.isascii() and key.isprintable():
        return key
    raise CliError(f"cannot use the API key from {place}: it is empty or holds more than one line of ASCII")


def seconds(text: str) -> float:
    """Duration text such as `1h30m` or `90s`, or a plain number of seconds.

    Not by `swapd.config.units`, which a command would wait for a fifth of a second.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    if text and _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 90s, 1h30m or a number of seconds")


def _colour(text: str) -> str:
    if text not in ("auto", "always", "never"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, always, never")
    return text
