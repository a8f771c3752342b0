"""One SQLite database with activity rows, in a file or in memory; for one thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from swapd.observe.activity.query import Filters, Page
from swapd.observe.activity.row import COLUMNS, ActivityRow
from swapd.observe.activity.schema import prepare, version_of
from swapd.observe.activity.statistics import statistics
from swapd.observe.activity.takeover import is_llama_swaps, take_over

_NAMES: Final = ", ".join(COLUMNS)
_INSERT: Final = f"INSERT INTO activity ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))})"
_DAY_MS: Final = 86_400_000
_ADD_UP: Final = """
    INSERT INTO activity_day VALUES (?, ?, 1, ?, ?, ?, ?, ?)
    ON CONFLICT (day, model) DO UPDATE SET
      requests = requests + 1, errors = errors + excluded.errors,
      input_tokens = input_tokens + excluded.input_tokens,
      output_tokens = output_tokens + excluded.output_tokens,
      cache_tokens = cache_tokens + excluded.cache_tokens, duration_ms = duration_ms + excluded.duration_ms
"""
PRUNE_STEP: Final = 2000
"""Rows deleted in one transaction, so that nobody waits long for it."""
DAYS_KEPT: Final = 3 * 366


class Damaged(Exception):
    """The file is no database, or a broken one."""


class Database:
    """An open connection. All methods may raise `sqlite3.Error`; none may be called from another thread.

    The mutable state beside the database itself is `count`, how many rows it has. `taken_over` says what was
    done to a file that a llama-swap has written, and is empty for others.
    """

    def __init__(self, path: Path | None) -> None:
        """Open or create the file; None is a database in memory.

        Raises `Damaged`, `NewerFile`, and `sqlite3.Error` if the file cannot be written.
        """
        self.path = path
        self.taken_over = ""
        try:
            self._db = sqlite3.connect(str(path or ":memory:"), isolation_level=None, timeout=5.0)
            self._set_up()
        except sqlite3.DatabaseError as error:
            if hasattr(self, "_db"):
                self._db.close()
            if not isinstance(error, sqlite3.OperationalError):
                raise Damaged(str(error)) from error
            raise

    def _set_up(self) -> None:
        execute = self._db.execute
        version_of(self._db)  # before anything changes the file
        if self.path is not None:
            if is_llama_swaps(self._db):
                self.taken_over = take_over(self._db, self.path)
            execute("PRAGMA auto_vacuum = INCREMENTAL")
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = NORMAL")
            execute("PRAGMA journal_size_limit = 16777216")
        prepare(self._db)
        if self.path is not None:
            # A file that can be read but not written shows it only now.
            execute("BEGIN IMMEDIATE")
            execute("DELETE FROM activity WHERE id < 0")
            execute("COMMIT")
        (self.count,) = execute("SELECT count(*) FROM activity").fetchone()

    def close(self) -> None:
        self._db.close()

    def last_id(self) -> int:
        """The highest id that was ever given to a row; 0 if none was."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'activity'").fetchone()
        return row[0] if row else 0

    def add(self, rows: Sequence[ActivityRow]) -> None:
        """Store rows, all or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_INSERT, [_values(row) for row in rows])
            self._db.executemany(_ADD_UP, [_sums(row) for row in rows])
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.count += len(rows)

    def page(self, filters: Filters, page: Page) -> tuple[list[ActivityRow], int]:
        """The rows of one page, and how many match in all."""
        where, values = filters.where()
        if where:
            (total,) = self._db.execute(f"SELECT count(*) FROM activity{where}", values).fetchone()
        else:
            total = self.count
        rows = self._db.execute(
            f"SELECT {_NAMES} FROM activity{where} ORDER BY {page.order()} LIMIT ? OFFSET ?",
            [*values, page.limit, (page.number - 1) * page.limit],
        )
        return [ActivityRow(*row) for row in rows], total

    def after(self, filters: Filters, id: int, limit: int) -> list[ActivityRow]:
        """The next rows behind `id`, in the order of their ids."""
        where, values = filters.where()
        where = f"{where} AND id > ?" if where else " WHERE id > ?"
        rows = self._db.execute(
            f"SELECT {_NAMES} FROM activity{where} ORDER BY id LIMIT ?", [*values, id, limit]
        )
        return [ActivityRow(*row) for row in rows]

    def statistics(self, filters: Filters, *, detailed: bool) -> dict[str, Any]:
        return statistics(self._db, filters, detailed=detailed, rolled_up=self.path is not None)

    def prune(self, *, max_age_s: float, max_rows: int, max_bytes: int) -> bool:
        """Delete some of the rows that are too many or too old; True if there may be more. 0 is no limit."""
        now_ms = int(time.time() * 1000)
        surplus = max(0, self.count - max_rows) if max_rows else 0
        if not surplus and max_bytes and self.path is not None and self._used_bytes() > max_bytes:
            surplus = max(1, self.count // 20)
        if not surplus and max_age_s:
            (surplus,) = self._db.execute(
                "SELECT count(*) FROM (SELECT 1 FROM activity WHERE ts_ms < ? LIMIT ?)",
                (now_ms - int(max_age_s * 1000), PRUNE_STEP),
            ).fetchone()
        if not surplus or not self.count:
            return False
        deleted = self._db.execute(
            "DELETE FROM activity WHERE id IN (SELECT id FROM activity ORDER BY ts_ms, id LIMIT ?)",
            (min(surplus, PRUNE_STEP),),
        ).rowcount
        self.count -= deleted
        self._db.execute("DELETE FROM activity_day WHERE day < ?", (now_ms // _DAY_MS - DAYS_KEPT,))
        self._db.execute("PRAGMA incremental_vacuum").fetchall()
        return deleted > 0

    def _used_bytes(self) -> int:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)


def _values(row: ActivityRow) -> list[Any]:
    return [getattr(row, name) for name in COLUMNS]


def _sums(row: ActivityRow) -> tuple[Any, ...]:
    return (
        row.ts_ms // _DAY_MS,
        row.model_id,
        row.resp_status_code != 200,
        row.input_tokens,
        row.output_tokens,
        max(row.cache_tokens, 0),
        row.duration_ms,
    )
