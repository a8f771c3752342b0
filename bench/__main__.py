"""`python -m bench`: measure, print Markdown, write JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import config_load, footprint, memory, readiness, report, streams, throughput
from bench.budget import SWAPD
from bench.results import Results
from bench.scale import FULL, QUICK, Scale
from bench.targets import Target, make_targets
from bench.tools import HERE, Tools

PARTS = ("config", "start", "idle", "requests", "streams", "readiness", "memory")


def main(argv: Sequence[str] | None = None) -> int:
    given = _parse(argv)
    scale = QUICK if given.quick else FULL
    tools, results = Tools(), Results()
    where = report.machine(tools.native)
    with tempfile.TemporaryDirectory(prefix="swapd-bench-") as directory:
        targets = make_targets(tools, Path(directory), given.peer, given.only)
        for part in given.parts or PARTS:
            _progress(part)
            _measure(part, targets, tools, scale, results)
    names = [target.name for target in targets]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    path = given.json or HERE / "results" / f"{stamp}.json"
    report.write_json(path, results, where)
    print(f"{where}\n\n{report.figures_table(results, names)}\n\n{report.budget_table(results)}")
    _progress(f"written to {path}")
    return 0


def _measure(part: str, targets: list[Target], tools: Tools, scale: Scale, results: Results) -> None:
    """One part of the benchmark, on freshly started targets."""
    proxies = [target for target in targets if target.proxied]
    measurements: dict[str, Callable[[], None]] = {
        "idle": lambda: footprint.measure_idle(proxies, scale, results),
        "requests": lambda: throughput.measure(targets, tools, scale, results),
        "streams": lambda: streams.measure(targets, tools, scale, results),
        "readiness": lambda: readiness.measure(proxies, scale, results),
        "memory": lambda: memory.measure(proxies, scale, results),
    }
    if part == "config":
        for target in targets:
            if target.name == SWAPD:
                config_load.measure(target, scale, results)
    elif part == "start":
        direct = [target for target in targets if not target.proxied]
        with_targets(direct, lambda: footprint.measure_start(proxies, scale, results))
    else:
        with_targets(targets, measurements[part])


def with_targets(targets: list[Target], measurement: Callable[[], None]) -> None:
    """Run a measurement with these targets started, and stop them after it whatever happens."""
    started: list[Target] = []
    try:
        for target in targets:
            target.start()
            started.append(target)
        measurement()
    finally:
        for target in started:
            target.stop()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute instead of four; coarser")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="measure this program too; the command contains {config} (a file in our language) and {listen}",
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="leave other targets out")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="measure only these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all samples")
    return parser.parse_args(argv)


def _progress(text: str, started_at: float = time.monotonic()) -> None:
    print(f"bench: {time.monotonic() - started_at:5.1f} s: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
