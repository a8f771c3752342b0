"""`swapd schema`: print a JSON Schema of the configuration, for editors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import CliError, ExitCode


def run(argv: Sequence[str]) -> int:
    """Print the schema, or write it to a file and print the line that makes an editor use it."""
    from swapd.config.schema import json_schema

    values = _parser().parse(argv, os.environ)
    out: Path | None = values["out"]
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        print(text, end="")
        print("# to use it, save it and put this above a configuration:", file=sys.stderr)
        print("# yaml-language-server: $schema=swapd.schema.json", file=sys.stderr)
        return ExitCode.OK
    try:
        out.write_text(text)
    except OSError as error:
        raise CliError(f"cannot write {out}: {error.strerror or error}", "choose another --out") from None
    print(f"# yaml-language-server: $schema={out}")
    return ExitCode.OK


def _parser() -> FlagParser:
    parser = FlagParser("schema", "Print a JSON Schema (draft 2020-12) of the configuration for editors.")
    parser.add_value(
        "out", "write it to this file, and print the line to paste into a configuration", "FILE", Path
    )
    return parser
