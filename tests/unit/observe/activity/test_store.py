"""The activity store: in memory, in a file, and in a file that cannot be used."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from swapd.observe.activity import NewerFile, database, worker
from swapd.observe.activity.query import Filters, Page
from tests.unit.observe.activity.rows import Store, opened, row


def set_aside(directory: Path) -> list[Path]:
    """The damaged files that were moved out of the way."""
    return list(directory.glob("activity.db.corrupt-*"))


NOW_MS = int(time.time() * 1000)


async def test_given_no_file_when_rows_are_added_then_the_newest_are_kept_and_there_is_no_thread_before() -> (
    None
):
    async with opened(None, max_in_memory=5) as store:
        ids = [store.add(row(number)) for number in range(8)]
        assert store._thread is None

        assert ids == list(range(1, 9))
        assert await store.ids() == [8, 7, 6, 5, 4]
        store.add(row(9))
        assert await store.ids() == [9, 8, 7, 6, 5]
        totals = await store.statistics(Filters(), detailed=False)
    assert totals["total_requests"] == 5


async def test_given_a_file_when_it_is_opened_again_then_history_and_ids_go_on(tmp_path: Path) -> None:
    path = tmp_path / "new" / "activity.db"
    async with opened(path) as store:
        for number in range(3):
            store.add(row(number, error_msg="e", stream=1))
    async with opened(path) as store:
        assert store.add(row(3)) == 4
        rows, total = await store.page(Filters(), Page())
        assert [each.id for each in rows] == [4, 3, 2, 1]
        assert (rows[3].error_msg, rows[3].stream, total) == ("e", 1, 4)
        assert store.reports == []


async def test_given_a_newer_file_when_it_is_opened_then_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    store = Store(path)

    with pytest.raises(NewerFile, match="format 99"):
        await store.open()
    assert path.read_bytes() == before


async def test_given_a_damaged_file_when_it_is_opened_then_it_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path,
) -> None:
    path = tmp_path / "activity.db"
    path.write_bytes(b"this is no database, but it is long enough to be taken for one" * 100)

    async with opened(path) as store:
        store.add(row())
        assert await store.ids() == [1]
        await trio.testing.wait_all_tasks_blocked()
        ((level, text),) = store.reports

    assert level == "error"
    assert "damaged" in text
    (aside,) = set_aside(tmp_path)
    assert aside.read_bytes().startswith(b"this is no database")
    async with opened(path) as store:
        assert await store.ids() == [1]


async def test_given_a_file_damaged_in_use_when_rows_are_added_then_none_of_the_new_ones_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "activity.db"
    real = database.Database.add
    broken: list[Any] = ["once"]

    def add(self: database.Database, rows: Any) -> None:
        if broken:
            broken.pop()
            raise sqlite3.DatabaseError("database disk image is malformed")
        real(self, rows)

    async with opened(path) as store:
        monkeypatch.setattr(database.Database, "add", add)
        store.add(row())
        assert await store.ids() == [1]
        await trio.testing.wait_all_tasks_blocked()
        assert "malformed" in store.reports[0][1]
    assert set_aside(tmp_path)


async def test_given_a_place_that_cannot_be_written_when_rows_are_added_then_they_are_kept_in_memory(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no directory")

    async with opened(tmp_path / "file" / "activity.db") as store:
        assert store.add(row()) == 1
        assert store.add(row()) == 2
        assert await store.ids() == [2, 1]
        await trio.testing.wait_all_tasks_blocked()
        ((level, text),) = store.reports
    assert level == "error"
    assert "kept in memory" in text


async def test_given_a_full_disk_when_there_is_room_again_then_the_file_gets_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "activity.db"
    real = database.Database.add
    full = True

    def add(self: database.Database, rows: Any) -> None:
        if full and self.path is not None:
            raise sqlite3.OperationalError("database or disk is full")
        real(self, rows)

    monkeypatch.setattr(database.Database, "add", add)
    monkeypatch.setattr(worker, "RETRY_S", 0.0)
    async with opened(path) as store:
        for number in range(300):
            store.add(row(number))
        assert len(await store.ids()) == 300

        full = False
        store.add(row(300))
        assert len(await store.ids()) == 301
        await trio.testing.wait_all_tasks_blocked()
        texts = [text for _, text in store.reports]
    assert "disk is full" in texts[0]
    assert "can be used again" in texts[-1]
    async with opened(path) as store:
        assert (await store.ids())[:2] == [301, 300]


async def test_given_a_read_only_file_when_it_is_opened_then_rows_are_kept_in_memory_and_it_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "activity.db"
    async with opened(path) as store:
        store.add(row())
    before = path.read_bytes()
    real = sqlite3.connect

    def read_only(name: str, **options: Any) -> sqlite3.Connection:
        # As root every file can be written, so the mode alone would not do.
        return real(f"file:{name}?mode=ro" if name != ":memory:" else name, uri=True, **options)

    monkeypatch.setattr(database.sqlite3, "connect", read_only)
    async with opened(path) as store:
        store.add(row())
        assert len(await store.ids()) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert "kept in memory" in store.reports[0][1]
    assert path.read_bytes() == before


# --- limits -------------------------------------------------------------------------------------------


async def test_given_too_many_rows_when_pruned_then_rows_are_counted_and_the_oldest_go(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "a.db", max_rows=100) as store:
        for number in range(250):
            store.add(row(number))
        await store.ids()
        store.add(row(250))
        ids = await store.ids()
        totals = await store.statistics(Filters(), detailed=False)
    assert len(ids) <= 101
    assert ids[0] == 251
    assert totals["total_requests"] == 251, "sums go back further than rows"


async def test_given_old_rows_when_pruned_then_they_go(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db", max_age_s=3600) as store:
        store.add(row(ts_ms=NOW_MS - 3_700_000))
        store.add(row(ts_ms=NOW_MS))

        assert await store.ids() == [2]


async def test_given_a_file_that_is_too_large_when_pruned_then_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(path) as store:
        for number in range(2000):
            store.add(row(number, error_msg="x" * 400))
    async with opened(path, max_bytes=500_000) as store:
        for number in range(40):
            store.add(row(number))
            await store.ids(limit=1)
        ids = await store.ids()
        assert ids[0] == 2040
        assert len(ids) < 999


# --- queries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(models=("m0", "m2")), [6, 4, 3, 1]),
        (Filters(min_id=2, max_id=4), [4, 3, 2]),
        (Filters(start_ms=1_785_900_002_000, end_ms=1_785_900_003_999), [4, 3]),
        (Filters(status="error"), [6]),
        (Filters(status="5xx"), [6]),
        (Filters(status="200", text="100%"), [5]),
        (Filters(text="_"), []),
        (Filters(key="alice"), [5]),
        (Filters(session="s1"), [5]),
        (Filters(path="/infill"), [6]),
        (Filters(ids=(1, 6, 99)), [6, 1]),
    ],
)
async def test_given_rows_when_filtered_then_exactly_those_that_match_are_there(
    filters: Filters, ids: list[int]
) -> None:
    async with opened(None) as store:
        for number in range(4):
            store.add(row(number))
        store.add(row(4, error_msg="100% wrong", api_key_name="alice", session="s1"))
        store.add(row(5, resp_status_code=503, req_path="/infill"))

        assert await store.ids(filters) == ids
        assert [each.id for each in await store.after(filters, 0)] == ids[::-1]


async def test_given_rows_with_the_same_value_when_sorted_then_ids_decide_in_the_same_direction() -> None:
    async with opened(None) as store:
        for number in (3, 1, 3, 2):
            store.add(row(input_tokens=number))

        assert await store.ids(sort="prompt", descending=False) == [2, 4, 1, 3]
        assert await store.ids(sort="prompt", descending=True) == [3, 1, 4, 2]
        assert await store.ids(sort="prompt", limit=2, number=2) == [4, 2]


async def test_given_speeds_when_summed_up_then_both_ways_of_counting_agree(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as store:
        for number in range(100):
            store.add(row(number, cache_tokens=number - 50, tokens_per_second=number**1.5, ttft_ms=number))
        counted = await store.statistics(Filters(), detailed=True)
        read = await store.statistics(Filters(min_id=1), detailed=True)

    assert counted["gen_histogram"]["bins"] == read["gen_histogram"]["bins"]
    for key in ("min", "max", "binSize", "p50", "p95", "p99"):
        assert counted["gen_histogram"][key] == pytest.approx(read["gen_histogram"][key])
    assert sum(counted["gen_histogram"]["bins"]) == 99, "0 is no speed"
    assert len(counted["gen_histogram"]["bins"]) == 8
    assert counted["total_cache_tokens"] == read["total_cache_tokens"] == sum(range(50))
    assert counted["ttft_ms"] == {"p50": 49.5, "p95": pytest.approx(94.05), "p99": pytest.approx(98.01)}
    assert counted["error_rate"] == 0


async def test_given_no_speeds_or_equal_ones_when_summed_up_then_there_is_no_histogram_or_one_bin() -> None:
    async with opened(None) as store:
        assert (await store.statistics(Filters(), detailed=False))["gen_histogram"] is None
        for _ in range(3):
            store.add(row(7))
        histogram = (await store.statistics(Filters(), detailed=False))["gen_histogram"]
    assert histogram == {"bins": [3], "min": 7, "max": 7, "binSize": 0, "p50": 7, "p95": 7, "p99": 7}
