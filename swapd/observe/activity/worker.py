"""What the thread of the activity store does: write rows, answer questions, and cope with a bad file.

A file that cannot be used harms nobody. A damaged one is moved aside and a new one begun. While a file cannot
be written (the disk is full, the directory not ours), rows are kept in memory, and a minute later, when there
is something to do anyway, the file is tried again.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from swapd.observe.activity.database import Damaged, Database
from swapd.observe.activity.query import Filters, Page
from swapd.observe.activity.row import ActivityRow
from swapd.observe.activity.settings import StoreSettings

BATCH: Final = 200
KEPT_WHILE_FAILING: Final = 10_000
RETRY_S: Final = 60.0
PRUNE_EVERY_S: Final = 3600.0


class Worker:
    """The databases, for the one thread that may touch them.

    The mutable state is which database is in use. While the file cannot be, `_missing` holds the rows that it
    lacks, and the database in use is one in memory.
    """

    def __init__(self, settings: StoreSettings, report: Callable[[str, str], None]) -> None:
        """`report` takes a level and a text; it is called from this thread."""
        self._settings = settings
        self._report = report
        self._missing: deque[ActivityRow] = deque(maxlen=KEPT_WHILE_FAILING)
        self._failing = False
        self._try_again_at = 0.0
        self._prune_at = 0.0
        self._database = self._open()

    @property
    def last_id(self) -> int:
        """The highest id that a row has, as far as is known."""
        return max(self._database.last_id(), self._missing[-1].id if self._missing else 0)

    def close(self) -> None:
        self._database.close()

    def change(self, settings: StoreSettings, continue_behind: Callable[[int], None]) -> None:
        """Do as the new settings say; `continue_behind` is told the last id of another file."""
        moved = settings.path != self._settings.path
        self._settings = settings
        if moved:
            self._database.close()
            self._failing = False
            self._missing.clear()
            self._database = self._open()
            continue_behind(self.last_id)
        self._prune_at = 0.0

    def add(self, rows: Sequence[ActivityRow]) -> None:
        """Store rows, in the file or, if that does not go, in memory. Never fails."""
        if self._failing and time.monotonic() >= self._try_again_at:
            self._try_again()
        for start in range(0, len(rows), BATCH):
            self._add_batch(rows[start : start + BATCH])
        self._prune_if_due()

    def page(self, filters: Filters, page: Page) -> tuple[list[ActivityRow], int]:
        return self._database.page(filters, page)

    def after(self, filters: Filters, id: int, limit: int) -> list[ActivityRow]:
        return self._database.after(filters, id, limit)

    def statistics(self, filters: Filters, *, detailed: bool) -> dict[str, Any]:
        return self._database.statistics(filters, detailed=detailed)

    def prune_step(self) -> bool:
        """Remove some of what is too much; True if there may be more."""
        settings = self._settings
        if self._database.path is None:
            return self._database.prune(max_age_s=0, max_rows=settings.max_in_memory, max_bytes=0)
        return self._database.prune(
            max_age_s=settings.max_age_s, max_rows=settings.max_rows, max_bytes=settings.max_bytes
        )

    def _open(self) -> Database:
        path = self._settings.path
        if path is None:
            return Database(None)
        try:
            return self._open_file(path)
        except sqlite3.Error as error:
            return self._fall_back(error)

    def _open_file(self, path: Path) -> Database:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            database = Database(path)
            if database.taken_over:
                self._report("info", database.taken_over)
            return database
        except Damaged as error:
            aside = self._move_aside(path)
            self._report("error", f"the activity store {path} is damaged ({error}); moved to {aside.name}")
            return Database(path)
        except OSError as error:
            raise sqlite3.OperationalError(str(error)) from error

    def _move_aside(self, path: Path) -> Path:
        """Rename a damaged file and what belongs to it, so that a new one can take its place."""
        mark = time.strftime("%Y%m%dT%H%M%S")
        aside = path.with_name(f"{path.name}.corrupt-{mark}")
        for ending in ("", "-wal", "-shm"):
            source = path.with_name(path.name + ending)
            if source.exists():
                source.rename(aside.with_name(aside.name + ending))
        return aside

    def _add_batch(self, rows: Sequence[ActivityRow]) -> None:
        try:
            self._database.add(rows)
        except sqlite3.Error as error:
            if self._failing:
                self._report("error", f"the activity log has lost {len(rows)} rows: {error}")
                return
            self._give_up_file(error, rows)
            return
        if self._failing:
            self._missing.extend(rows)

    def _give_up_file(self, error: sqlite3.Error, rows: Sequence[ActivityRow]) -> None:
        path = self._settings.path
        self._database.close()
        if path is not None and not isinstance(error, sqlite3.OperationalError):
            # Damaged while it was open: a new file takes its place, or memory if that fails too.
            try:
                aside = self._move_aside(path)
                self._report(
                    "error", f"the activity store {path} is damaged ({error}); moved to {aside.name}"
                )
                self._database = Database(path)
                self._database.add(rows)
                return
            except (sqlite3.Error, OSError, Damaged) as second:
                error = sqlite3.OperationalError(str(second))
        self._database = self._fall_back(error)
        self._database.add(rows)
        self._missing.extend(rows)

    def _fall_back(self, error: sqlite3.Error) -> Database:
        self._failing = True
        self._try_again_at = time.monotonic() + RETRY_S
        self._report(
            "error",
            f"the activity store {self._settings.path} cannot be used ({error}); rows are kept in memory",
        )
        return Database(None)

    def _try_again(self) -> None:
        """Go back to the file, with the rows that it lacks, if it can be used again."""
        path = self._settings.path
        assert path is not None
        self._try_again_at = time.monotonic() + RETRY_S
        try:
            database = self._open_file(path)
            rows = _renumbered(list(self._missing), database.last_id())
            database.add(rows)
        except (sqlite3.Error, Damaged):
            return
        self._database.close()
        self._database = database
        self._failing = False
        self._missing.clear()
        self._report("info", f"the activity store {path} can be used again; {len(rows)} rows written")

    def _prune_if_due(self) -> None:
        """Keep within the limits: in memory at once, in a file now and then and a little at a time."""
        if self._database.path is None:
            while self.prune_step():
                pass
        elif time.monotonic() >= self._prune_at and not self.prune_step():
            self._prune_at = time.monotonic() + PRUNE_EVERY_S


def _renumbered(rows: list[ActivityRow], last_id: int) -> list[ActivityRow]:
    """Rows with ids behind `last_id`; those that are behind it already keep theirs."""
    if rows and rows[0].id <= last_id:
        for number, row in enumerate(rows, last_id + 1):
            row.id = number
    return rows
