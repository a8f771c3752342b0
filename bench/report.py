"""The results as Markdown tables and as JSON."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.budget import Verdict, verdicts
from bench.results import Results
from bench.speed import explanation, slowness

_UNITS = {
    "per_second": ("/s", 1.0),
    "cpu_us": ("µs CPU", 1.0),
    "p50_us": ("µs p50", 1.0),
    "p99_us": ("µs p99", 1.0),
    "bytes": ("KB", 1e-3),
    "ms": ("ms", 1.0),
    "cpu_ms": ("ms CPU", 1.0),
    "mb_per_s": ("MB/s", 1.0),
    "instructions": ("k instructions", 1e-3),
    "wakeups": ("wake-ups", 1.0),
    "accept_ms": ("ms to accept", 1.0),
    "answer_ms": ("ms to answer", 1.0),
}


def machine(native: bool) -> str:
    """One line on where this was measured."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    tools = "C" if native else "Python (no C compiler: absolute figures are too low)"
    return (
        f"{os.cpu_count()} × {model}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"{_versions()}; upstream and load generator in {tools}"
    )


def _versions() -> str:
    found = []
    for package in ("trio", "hypercorn", "httpx"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def figures_table(results: Results, targets: list[str]) -> str:
    """All figures, a row each; medians."""
    lines = [_row("", *targets), _row("---", *("---:" for _ in targets))]
    for measurement, quantity in results.rows():
        unit, factor = _UNITS[quantity]
        values = [results.value(measurement, quantity, target) for target in targets]
        cells = ["" if value is None else _number(value * factor) for value in values]
        lines.append(_row(f"{measurement} {unit}", *cells))
    return "\n".join(lines)


def budget_table(results: Results) -> str:
    """swapd against its budget; what was not measured is left out."""
    judged = [verdict for verdict in verdicts(results) if verdict.kept is not None]
    lines = [_row("swapd", "measured", "there", "budget", ""), _row("---", "---:", "---:", "---:", "---")]
    return "\n".join([*lines, *map(_verdict_row, judged), "", explanation(results)])


def _verdict_row(verdict: Verdict) -> str:
    budget, value, there = verdict.budget, verdict.value, verdict.there
    assert value is not None
    assert there is not None
    sign = "≥" if budget.at_least else "≤"
    return _row(
        budget.text,
        f"{_number(value)} {budget.unit}".strip(),
        "" if there == value else f"{_number(there)} {budget.unit}",
        f"{sign} {_number(budget.bound)} {budget.unit}".strip(),
        "kept" if verdict.kept else "**missed**",
    )


def write_json(path: Path, results: Results, where: str) -> None:
    judged = [
        {
            "text": v.budget.text,
            "value": v.value,
            "there": v.there,
            "bound": v.budget.bound,
            "kept": v.kept,
        }
        for v in verdicts(results)
    ]
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": where,
        "slowness": slowness(results),
        "budgets": judged,
        "samples": results.samples(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
