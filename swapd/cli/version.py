"""`swapd version [--json]`: which swapd this is, and what it runs on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import ExitCode
from swapd.version import BUILD


def run(argv: Sequence[str]) -> int:
    parser = FlagParser("version", "Print the version.")
    parser.add_switch("json", "as one JSON object, with the versions of Python and of the main libraries")
    if parser.parse(argv, os.environ)["json"]:
        print(_as_json())
    else:
        print(BUILD)
    return ExitCode.OK


def _as_json() -> str:
    import json
    import platform
    from importlib.metadata import version

    return json.dumps(
        {
            "version": BUILD.version,
            "commit": BUILD.commit,
            "build_date": BUILD.date,
            "python": platform.python_version(),
            "trio": version("trio"),
            "hypercorn": version("hypercorn"),
        }
    )
