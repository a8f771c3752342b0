"""What a load test has measured: quantiles by model and over all, assertions on them, and how it is shown."""

from __future__ import annotations

import argparse
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import frozen

from swapd.cli.client_command import seconds
from swapd.cli.load_test.question import Outcome
from swapd.cli.load_test.run import Run
from swapd.cli.output import UNKNOWN, Cell, Column, Styled

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
COLUMNS: Final = (
    Column("MODEL", cut=True),
    *(Column(title, right=True) for title in ("REQUESTS", "ERRORS", "TTFT P50", "P95", "TOTAL P50", "P95")),
    *(Column(title, right=True) for title in ("MAX", "TOKENS/S", "ALL", "STARTS", "LOAD P50")),
)
TOTAL: Final = "total"
_ASSERTION: Final = re.compile(
    r"\s*(?:(p50|p90|p95|p99|max)_(ttft|total|load)|(errors|tokens_per_s|requests))\s*(<=|>=|<|>|==)\s*(\S+)\s*"
)
_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

Summary = dict[str, Any]


def summarise(run: Run) -> list[Summary]:
    """One summary for each model that was asked, in the order of the first request, and the total last.

    Times are seconds; quantiles are those of requests without error, None if there were none.
    """
    models = dict.fromkeys(outcome.model for outcome in run.outcomes)
    summaries = [
        _summary(model, [each for each in run.outcomes if each.model == model], run, (model,))
        for model in models
    ]
    return [*summaries, _summary(TOTAL, run.outcomes, run, None)]


def _summary(name: str, outcomes: Sequence[Outcome], run: Run, models: tuple[str, ...] | None) -> Summary:
    good = [outcome for outcome in outcomes if not outcome.error]
    starts = None if run.starts is None else [each for each in run.starts if not models or each[0] in models]
    loads = [load / 1000 for _, load in starts or () if load is not None]
    speeds = [speed for outcome in good if (speed := outcome.tokens_per_s) is not None]
    tokens = sum(outcome.tokens or 0 for outcome in good)
    return {
        "model": name,
        "requests": len(outcomes),
        "errors": dict(Counter(outcome.error for outcome in outcomes if outcome.error)),
        "ttft_s": quantiles([outcome.ttft_s for outcome in good if outcome.ttft_s is not None]),
        "total_s": quantiles([outcome.total_s for outcome in good]),
        "load_s": quantiles(loads),
        "tokens": tokens,
        "tokens_per_s": {
            "stream": round(sum(speeds) / len(speeds), 2) if speeds else None,
            "all": round(tokens / run.lasted_s, 2) if run.lasted_s else None,
        },
        "starts": None if starts is None else len(starts),
        "bytes": sum(outcome.received for outcome in outcomes),
    }


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    """The nearest rank of each quantile: a value that was really measured."""
    if not values:
        return None
    ordered = sorted(values)
    return {
        name: round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 4)
        for name, share in QUANTILES.items()
    }


def row(summary: Summary) -> list[Cell]:
    """Its line in the table."""
    ttft, total, load = (summary[name] or {} for name in ("ttft_s", "total_s", "load_s"))
    errors = sum(summary["errors"].values())
    return [
        Styled(summary["model"], "bold" if summary["model"] == TOTAL else ""),
        str(summary["requests"]),
        Styled(str(errors), "red" if errors else ""),
        *(in_words(ttft.get(name)) for name in ("p50", "p95")),
        *(in_words(total.get(name)) for name in ("p50", "p95", "max")),
        *(_number(summary["tokens_per_s"][name]) for name in ("stream", "all")),
        UNKNOWN if summary["starts"] is None else str(summary["starts"]),
        in_words(load.get("p50")),
    ]


def in_words(value: float | None) -> str:
    """A time in milliseconds, or in seconds from ten of them on."""
    if value is None:
        return UNKNOWN
    return f"{value * 1000:.0f}ms" if value < 10 else f"{value:.1f}s"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f}"


def markdown(summaries: Sequence[Summary]) -> str:
    """The table for a page or an issue."""
    cells = [[_text(cell).replace("|", "\\|") for cell in row(summary)] for summary in summaries]
    lines = [[column.title.lower() for column in COLUMNS], ["---"] + ["--:"] * (len(COLUMNS) - 1), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


@frozen
class Assertion:
    """A bound on a figure of the total, as it was written."""

    text: str
    figure: tuple[str, ...]
    compare: str
    bound: float

    def failure(self, total: Summary) -> str:
        """Why it does not hold; empty if it does."""
        value = self._value(total)
        if value is None:
            return f"{self.text}: nothing of it was measured"
        if _OPERATORS[self.compare](value, self.bound):
            return ""
        return f"{self.text}: it was {value:g}{'s' if len(self.figure) == 2 else ''}"

    def _value(self, total: Summary) -> float | None:
        match self.figure:
            case ("errors",):
                return float(sum(total["errors"].values()))
            case ("requests",):
                return float(total["requests"])
            case ("tokens_per_s",):
                speed = total["tokens_per_s"]["stream"]
                return None if speed is None else float(speed)
            case (quantile, what):
                measured = total[f"{what}_s"]
                return None if measured is None else float(measured[quantile])
        raise AssertionError(self.figure)


def assertion(text: str) -> Assertion:
    """Understand `p95_ttft<2s`, `errors==0`, `tokens_per_s>20`. Raises `ArgumentTypeError`."""
    match = _ASSERTION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no assertion; write p95_ttft<2s, max_total<=1m, p50_load<10s, errors==0, "
            f"requests>=10 or tokens_per_s>20"
        )
    quantile, what, plain, compare, bound = match.groups()
    if what:
        return Assertion(text, (quantile, what), compare, seconds(bound))
    try:
        return Assertion(text, (plain,), compare, float(bound))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {bound!r} is no number") from None
