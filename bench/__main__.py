"""`python -m bench`: measure, print Markdown, write JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import report
from bench.parts import PARTS, Bench
from bench.results import Results
from bench.scale import FULL, QUICK
from bench.speed import REFERENCE_US
from bench.targets import Target, make_targets, warm_up
from bench.tools import HERE, Tools


def main(argv: Sequence[str] | None = None) -> int:
    given = _parse(argv)
    scale = QUICK if given.quick else FULL
    tools, results = Tools(), Results()
    where = report.machine(tools.native)
    with tempfile.TemporaryDirectory(prefix="swapd-bench-") as directory:
        known = make_targets(tools, Path(directory), given.peer)
        yardsticks = [target for target in known if target.name in REFERENCE_US]
        targets = [target for target in known if _is_wanted(target, given.only)]
        bench = Bench(targets, yardsticks, tools, scale, results)
        warm_up(targets)
        for name, measure in PARTS.items():
            if name == "speed" or name in (given.parts or PARTS):
                _progress(name)
                measure(bench)
    names = [target.name for target in targets]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = given.json or HERE / "results" / f"{stamp}.json"
    report.write_json(path, results, where)
    print(f"{where}\n\n{report.figures_table(results, names)}\n\n{report.budget_table(results)}")
    _progress(f"written to {path}")
    return 0


def _is_wanted(target: Target, only: Sequence[str]) -> bool:
    return not only or target.name in only or not target.proxied


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of six; coarser")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="measure this program too; the command contains {config} (a file in our language) and {listen}",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="leave other targets out")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="measure only these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all samples")
    return parser.parse_args(argv)


def _progress(text: str, started_at: float = time.monotonic()) -> None:
    print(f"bench: {time.monotonic() - started_at:5.1f} s: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
