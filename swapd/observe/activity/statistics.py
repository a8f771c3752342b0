"""Sums and distributions over the rows of the activity store."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from swapd.observe.activity.query import Filters

FEWEST_BINS: Final = 5
MOST_BINS: Final = 20
_MEASURED: Final = ("prompt_per_second", "tokens_per_second", "ttft_ms", "queue_ms", "load_ms")


def statistics(
    db: sqlite3.Connection, filters: Filters, *, detailed: bool, rolled_up: bool
) -> dict[str, Any]:
    """The answer to `/api/metrics/stats`. `detailed` adds the distributions of the times.

    Over the whole store the speeds are counted in their indexes, without looking at the rows, and with
    `rolled_up` the sums are those of the days, which go back further than the rows.
    """
    where, values = filters.where()
    totals = db.execute(
        "SELECT sum(requests), sum(input_tokens), sum(output_tokens), sum(cache_tokens) FROM activity_day"
        if rolled_up and not where
        else "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(max(cache_tokens, 0)) "
        f"FROM activity{where}",
        values,
    ).fetchone()
    names = ("total_requests", "total_input_tokens", "total_output_tokens", "total_cache_tokens")
    answer: dict[str, Any] = dict(zip(names, [total or 0 for total in totals], strict=True))
    columns = _columns(db, where, values) if where or detailed else {}
    for name, column in (("prompt_histogram", "prompt_per_second"), ("gen_histogram", "tokens_per_second")):
        answer[name] = histogram(columns[column]) if where else _indexed_histogram(db, column)
    if detailed:
        wrong = db.execute(f"SELECT sum(resp_status_code <> 200) FROM activity{where}", values).fetchone()[0]
        answer["error_rate"] = (wrong or 0) / answer["total_requests"] if answer["total_requests"] else 0.0
        for column in ("ttft_ms", "queue_ms", "load_ms"):
            answer[column] = percentiles(columns[column])
    return answer


def histogram(values: Sequence[float]) -> dict[str, Any] | None:
    """Bins of equal width over sorted positive values; None if there are none."""
    if not values:
        return None
    least, most, count = values[0], values[-1], len(values)
    if least == most:
        bins, width = [count], 0.0
    else:
        number = bin_count(count)
        width = (most - least) / number
        bins = [0] * number
        for value in values:
            bins[min(int((value - least) / width), number - 1)] += 1
    return {"bins": bins, "min": least, "max": most, "binSize": width, **(percentiles(values) or {})}


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """p50, p95, p99 of sorted values, by linear interpolation; None if there are none."""
    if not values:
        return None

    def pair_at(rank: int) -> tuple[float, float]:
        return values[rank], values[min(rank + 1, len(values) - 1)]

    return {f"p{p}": interpolated(len(values), p, pair_at) for p in (50, 95, 99)}


def interpolated(count: int, p: int, pair_at: Callable[[int], tuple[float, float]]) -> float:
    """The `p`th percentile of `count` sorted values, at rank p/100·(n−1).

    `pair_at` gives the value at a rank and the next one (at the last rank that value again).
    """
    rank = p / 100 * (count - 1)
    low = math.floor(rank)
    first, second = pair_at(low)
    return first + (second - first) * (rank - low)


def bin_count(count: int) -> int:
    return min(max(math.ceil(math.log2(count)) + 1, FEWEST_BINS), MOST_BINS)


def _columns(db: sqlite3.Connection, where: str, values: list[Any]) -> dict[str, list[float]]:
    """What is known of the rows' speeds and times, each sorted; in one pass, which takes long enough."""
    rows = db.execute(f"SELECT {', '.join(_MEASURED)} FROM activity{where}", values).fetchall()
    columns = dict(zip(_MEASURED, zip(*rows, strict=True), strict=True)) if rows else {}
    return {
        name: sorted(
            value
            for value in columns.get(name, ())
            if value is not None and (value > 0 or name.endswith("_ms"))
        )
        for name in _MEASURED
    }


def _indexed_histogram(db: sqlite3.Connection, column: str) -> dict[str, Any] | None:
    """`histogram` of a column of the whole table, with the database doing the counting in its index."""
    some = f"FROM activity WHERE {column} > 0"
    # Two queries, for SQLite finds either end of an index at once but not both together.
    (least,) = db.execute(f"SELECT min({column}) {some}").fetchone()
    (most,) = db.execute(f"SELECT max({column}) {some}").fetchone()
    if least is None:
        return None
    (count,) = db.execute(f"SELECT count(*) {some}").fetchone()

    def pair_at(rank: int) -> tuple[float, float]:
        last = rank == count - 1
        if rank < count / 2:
            order, offset = "ASC", rank
        else:  # counted from the nearer end
            order, offset = "DESC", max(0, count - 2 - rank)
        rows = db.execute(
            f"SELECT {column} {some} ORDER BY {column} {order} LIMIT 2 OFFSET ?", (offset,)
        ).fetchall()
        pair = sorted(value for (value,) in rows)
        return (pair[-1], pair[-1]) if last else (pair[0], pair[-1])

    if least == most:
        bins, width = [count], 0.0
    else:
        number = bin_count(count)
        width = (most - least) / number
        bins = []
        for index in range(number):
            last = index == number - 1
            bound = most if last else least + (index + 1) * width
            comparison = "<=" if last else "<"
            (below,) = db.execute(
                # Not `some`: of two lower bounds SQLite would seek the one that excludes less.
                f"SELECT count(*) FROM activity WHERE {column} >= ? AND {column} {comparison} ?",
                (least + index * width, bound),
            ).fetchone()
            bins.append(below)
    named = {f"p{p}": interpolated(count, p, pair_at) for p in (50, 95, 99)}
    return {"bins": bins, "min": least, "max": most, "binSize": width, **named}
