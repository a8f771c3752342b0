"""The activity store with a million rows: how long a page and the statistics take, and what writing costs."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from swapd.observe.activity.database import Database
from swapd.observe.activity.query import Filters, Page
from swapd.observe.activity.row import ActivityRow

ROWS = 1_000_000
BATCH = 200


def measure(rows: int = ROWS, repeats: int = 5) -> dict[str, float]:
    """Milliseconds, the middle of `repeats`; `write_us` is microseconds a row, written as the daemon does."""
    with tempfile.TemporaryDirectory(prefix="swapd-bench-") as directory:
        path = Path(directory) / "activity.db"
        database = Database(path)
        began = time.perf_counter()
        for start in range(0, rows, BATCH):
            database.add([_row(number) for number in range(start, min(start + BATCH, rows))])
        write_us = (time.perf_counter() - began) / rows * 1e6
        week = Filters(start_ms=_row(rows).ts_ms - 7 * 86_400_000)
        questions = {
            "newest_50_ms": lambda: database.page(Filters(), Page(limit=50)),
            "statistics_ms": lambda: database.statistics(Filters(), detailed=False),
            "statistics_of_7_days_ms": lambda: database.statistics(week, detailed=True),
            "page_of_one_model_ms": lambda: database.page(Filters(models=("model-1",)), Page(limit=50)),
        }
        figures = {"rows": float(rows), "write_us": write_us, "file_mb": path.stat().st_size / 1e6}
        for name, ask in questions.items():
            times = []
            for _ in range(repeats):
                began = time.perf_counter()
                ask()
                times.append((time.perf_counter() - began) * 1000)
            figures[name] = sorted(times)[repeats // 2]
        database.close()
        return figures


def _row(number: int) -> ActivityRow:
    """A request every 8 s, so that a million of them are three months, with speeds as models have them."""
    speed = random.lognormvariate(3.5, 0.5)
    return ActivityRow(
        id=number + 1,
        ts_ms=1_780_000_000_000 + number * 8000,
        model_id=f"model-{number % 7}",
        req_path="/v1/chat/completions",
        resp_content_type="application/json",
        resp_status_code=500 if number % 50 == 0 else 200,
        cache_tokens=number % 100,
        draft_tokens=-1,
        draft_acc_tokens=-1,
        input_tokens=number % 4000,
        output_tokens=number % 500,
        prompt_per_second=speed * 20,
        tokens_per_second=speed,
        duration_ms=number % 30_000,
        queue_ms=number % 10,
        ttft_ms=number % 900,
        method="POST",
        client="127.0.0.1",
    )


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:26} {value:12.1f}")
