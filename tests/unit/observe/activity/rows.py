"""Rows for tests of the activity store, and a store to put them into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from swapd.observe.activity import ActivityRow, ActivityStore
from swapd.observe.activity.query import Filters, Page
from swapd.observe.activity.settings import StoreSettings


def row(number: int = 0, **values: Any) -> ActivityRow:
    """A row; `number` makes it different from others."""
    known: dict[str, Any] = {
        "id": 0,
        "ts_ms": 1_785_900_000_000 + number * 1000,
        "model_id": f"m{number % 3}",
        "req_path": "/v1/chat/completions",
        "resp_content_type": "application/json",
        "resp_status_code": 200,
        "cache_tokens": -1,
        "draft_tokens": -1,
        "draft_acc_tokens": -1,
        "input_tokens": number,
        "output_tokens": 1,
        "prompt_per_second": 100.0 + number,
        "tokens_per_second": float(number),
        "duration_ms": 10 * number,
    }
    return ActivityRow(**{**known, **values})


class Store(ActivityStore):
    """A store that notes what it reports."""

    def __init__(self, path: Path | None, **settings: Any) -> None:
        self.reports: list[tuple[str, str]] = []
        super().__init__(
            StoreSettings(path=path, **settings), lambda level, text: self.reports.append((level, text))
        )

    async def ids(self, filters: Filters | None = None, **page: Any) -> list[int]:
        rows, _ = await self.page(filters or Filters(), Page(**{"limit": 999, **page}))
        return [each.id for each in rows]


@asynccontextmanager
async def opened(path: Path | None, **settings: Any) -> AsyncIterator[Store]:
    store = Store(path, **settings)
    try:
        await store.open()
        yield store
    finally:
        store.close()
