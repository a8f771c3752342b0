"""The activity log as the rest of the daemon sees it: rows go in without waiting, questions are awaited.

Everything that touches SQLite happens in one thread. With a file, rows are written there in batches, a
quarter of a second after the first of a batch; so a crash loses less than a second. Without one, rows are
handed to the thread only when somebody asks, and there is no thread before that.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import trio

from swapd.observe.activity.row import ActivityRow

if TYPE_CHECKING:
    from swapd.observe.activity.query import Filters, Page
    from swapd.observe.activity.settings import StoreSettings
    from swapd.observe.activity.worker import Worker

COLLECT_S: Final = 0.25
WAITING_ROWS: Final = 10_000
"""Most rows that wait for the thread; one that is stuck in a write loses the oldest of what comes then."""
EXPORT_STEP: Final = 1000
CLOSE_S: Final = 2.0

T = TypeVar("T")


class Recorded(Protocol):
    """What a row is made of, once one is needed."""

    id: int

    def row(self) -> ActivityRow:
        """The row. Called once, in the store's thread."""


class StoreFailed(Exception):
    """The store could not answer; the text says why."""


class NewerFile(Exception):
    """The file was written by a newer swapd; its text says so."""


class ActivityStore:
    """Rows of finished requests. For the event loop's thread, except where it says otherwise.

    The mutable state is the rows that wait for the thread, and the next id. `report(level, text)` is told of
    troubles with the file.
    """

    def __init__(self, settings: StoreSettings, report: Callable[[str, str], None]) -> None:
        self._settings = settings
        self._report = report
        self._next_id = 1
        waiting = settings.max_in_memory if settings.path is None else WAITING_ROWS
        self._waiting: deque[Recorded] = deque(maxlen=waiting)
        self._jobs: queue.SimpleQueue[Callable[[Worker], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._flush_wanted = False
        self._hurry = threading.Event()
        """Set when somebody waits for the thread."""

    @property
    def waiting(self) -> int:
        """Rows that have not been written yet."""
        return len(self._waiting)

    async def open(self) -> None:
        """Open the file, if there is one, so that ids go on where they ended.

        Raises `NewerFile` if it was written by a newer swapd. Any other trouble is reported, not raised.
        """
        if self._settings.path is not None:
            self._next_id = await self._ask(lambda worker: worker.last_id) + 1

    def add(self, recorded: Recorded) -> int:
        """Store a row, soon; returns the id that it gets. Never blocks and never fails."""
        id = recorded.id = self._next_id
        self._next_id = id + 1
        self._waiting.append(recorded)
        if self._settings.path is not None and not self._flush_wanted:
            self._flush_wanted = True
            self._put(self._collect_and_write)
        return id

    async def page(self, filters: Filters, page: Page) -> tuple[list[ActivityRow], int]:
        """The rows of one page, and how many match in all. Raises `StoreFailed`."""
        return await self._ask(lambda worker: worker.page(filters, page))

    async def statistics(self, filters: Filters, *, detailed: bool) -> dict[str, Any]:
        """Sums and distributions. Raises `StoreFailed`."""
        return await self._ask(lambda worker: worker.statistics(filters, detailed=detailed))

    async def after(self, filters: Filters, id: int) -> list[ActivityRow]:
        """The next rows behind `id`, oldest first, at most a thousand. Raises `StoreFailed`."""
        return await self._ask(lambda worker: worker.after(filters, id, EXPORT_STEP))

    def change(self, settings: StoreSettings) -> None:
        """Keep rows elsewhere, or more or fewer of them, from now on. What was in memory stays behind."""
        waiting = settings.max_in_memory if settings.path is None else WAITING_ROWS
        self._settings = settings
        if self._thread is not None:
            self._put(lambda worker: worker.change(settings, self._continue_behind))
        elif settings.path is not None:
            self._put(lambda worker: self._continue_behind(worker.last_id))
        if self._waiting.maxlen != waiting:
            self._waiting = deque(self._waiting, maxlen=waiting)

    def close(self) -> None:
        """Write what waits, for at most two seconds, and end the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._hurry.set()
            self._thread.join(CLOSE_S)

    async def _ask(self, question: Callable[[Worker], T]) -> T:
        """Have the thread answer, after it has written all rows that were added before."""
        answered = trio.Event()
        answers: list[T | Exception] = []
        token = trio.lowlevel.current_trio_token()

        def job(worker: Worker) -> None:
            try:
                self._write(worker)
                answers.append(question(worker))
            except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
                answers.append(error)
            _call_soon(token, answered.set)

        def failed(error: Exception) -> None:
            answers.append(error)
            _call_soon(token, answered.set)

        self._put(job, failed)
        self._hurry.set()
        await answered.wait()
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer if isinstance(answer, NewerFile) else StoreFailed(str(answer)) from answer
        return answer

    def _put(self, job: Callable[[Worker], None], failed: Callable[[Exception], None] | None = None) -> None:
        self._jobs.put(job)
        if self._thread is None:
            self._token = trio.lowlevel.current_trio_token()
            self._thread = threading.Thread(
                target=self._work, args=(failed,), name="swapd-activity", daemon=True
            )
            self._thread.start()

    # -- in the thread ---------------------------------------------------------------------------------------

    def _work(self, failed: Callable[[Exception], None] | None) -> None:
        from swapd.observe.activity.worker import Worker  # SQLite is loaded by those who use it

        try:
            worker = Worker(self._settings, self._report_from_thread)
        except Exception as error:  # noqa: BLE001 - whoever asked first is told
            if failed is not None:
                failed(error)
            return
        while (job := self._jobs.get()) is not None:
            job(worker)
        self._write(worker)
        worker.close()

    def _collect_and_write(self, worker: Worker) -> None:
        self._hurry.wait(COLLECT_S)
        self._hurry.clear()
        self._flush_wanted = False
        self._write(worker)

    def _write(self, worker: Worker) -> None:
        rows: list[ActivityRow] = []
        while self._waiting:
            rows.append(self._waiting.popleft().row())
        if rows:
            worker.add(rows)

    def _continue_behind(self, last_id: int) -> None:
        """Give the next row an id behind `last_id`; called in the thread."""
        assert self._token is not None

        def set_next() -> None:
            self._next_id = max(self._next_id, last_id + 1)

        _call_soon(self._token, set_next)

    def _report_from_thread(self, level: str, text: str) -> None:
        assert self._token is not None
        _call_soon(self._token, lambda: self._report(level, text))


def _call_soon(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    try:
        token.run_sync_soon(function)
    except trio.RunFinishedError:
        pass  # nobody is left to tell
