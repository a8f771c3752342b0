"""A file of llama-swap's becomes one of ours, and nothing in it is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from swapd.observe.activity.query import Filters, Page
from tests.unit.observe.activity.rows import opened, row

TABLES = """
    CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL);
    INSERT INTO goose_db_version (version_id) VALUES (0), (1), (2);
    CREATE TABLE activity (
      id INTEGER PRIMARY KEY AUTOINCREMENT, ts_created INTEGER NOT NULL, model_id TEXT, req_path TEXT,
      resp_content_type TEXT, resp_status_code INTEGER, cache_tokens INTEGER, {drafts}
      input_tokens INTEGER, output_tokens INTEGER, prompt_per_second REAL, tokens_per_second REAL,
      duration_ms INTEGER, error_msg TEXT, metadata_json TEXT
    );
    CREATE INDEX activity_time ON activity (ts_created DESC, id DESC);
    CREATE INDEX idx_activity_model ON activity (model_id, ts_created DESC, id DESC);
"""
DRAFTS = "draft_tokens INTEGER, draft_acc_tokens INTEGER,"


def write_theirs(path: Path, *rows: tuple[object, ...], drafts: str = DRAFTS) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(TABLES.format(drafts=drafts))
        for each in rows:
            db.execute(f"INSERT INTO activity VALUES ({', '.join('?' * len(each))})", each)
        db.commit()


def copies(directory: Path) -> list[Path]:
    return list(directory.glob("activity.db.llama-swap*"))


CHAT = (7, 1_700_000_000, "qwen", "/v1/chat/completions", "application/json", 200, 5, -1, -1, 20, 30)
ANSWERED = (*CHAT, 100.5, 40.25, 950, None, '{"selector": "any", "note": "x"}')
FAILED = (9, 1_700_000_100, "qwen", "/v1/rerank", None, 502, -1, -1, -1, 0, 0, -1.0, -1.0, 3, "boom", "{")


async def test_given_a_file_of_llama_swaps_when_it_is_opened_then_its_history_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "activity.db"
    write_theirs(path, ANSWERED, FAILED)

    async with opened(path, max_age_s=0) as store:
        rows, total = await store.page(Filters(), Page())
        totals = await store.statistics(Filters(), detailed=False)
        id = store.add(row(1))

    assert (total, [each.id for each in rows], id) == (2, [9, 7], 10)
    failed, answered = rows
    assert (answered.ts_ms, answered.model_id, answered.duration_ms) == (1_700_000_000_000, "qwen", 950)
    assert (answered.cache_tokens, answered.input_tokens, answered.output_tokens) == (5, 20, 30)
    assert (answered.prompt_per_second, answered.tokens_per_second) == (100.5, 40.25)
    assert (answered.selector, answered.error_msg) == ("any", "")
    assert answered.metadata_json == '{"selector": "any", "note": "x"}'
    assert (failed.resp_content_type, failed.error_msg, failed.metadata_json) == ("", "boom", "")
    assert (totals["total_requests"], totals["total_input_tokens"]) == (2, 20)
    [(level, text)] = store.reports
    assert (level, "took over 2 requests" in text) == ("info", True)


async def test_given_a_file_of_llama_swaps_when_it_was_taken_over_then_a_copy_is_as_it_was(
    tmp_path: Path,
) -> None:
    path = tmp_path / "activity.db"
    path.with_name("activity.db.llama-swap").write_text("of another time")
    write_theirs(path, ANSWERED)
    path.chmod(0o600)

    for _ in range(2):  # the second time it is one of ours
        async with opened(path, max_age_s=0):
            pass

    assert path.with_name("activity.db.llama-swap").read_text() == "of another time"
    copy = path.with_name("activity.db.llama-swap-2")
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("SELECT id, ts_created FROM activity").fetchall() == [(7, 1_700_000_000)]
    assert len(copies(tmp_path)) == 2


async def test_given_an_older_file_of_llama_swaps_when_columns_are_missing_then_they_are_unknown(
    tmp_path: Path,
) -> None:
    path = tmp_path / "activity.db"
    write_theirs(path, (*ANSWERED[:7], *ANSWERED[9:]), drafts="")

    async with opened(path, max_age_s=0) as store:
        [answered], _ = await store.page(Filters(), Page())

    assert (answered.draft_tokens, answered.draft_acc_tokens, answered.output_tokens) == (-1, -1, 30)


async def test_given_no_room_for_the_copy_when_a_file_is_opened_then_it_stays_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "activity.db"
    write_theirs(path, ANSWERED)
    before = path.read_bytes()
    monkeypatch.setattr(
        "swapd.observe.activity.takeover._free_name", lambda path: path.with_name("no") / "such" / "place"
    )

    async with opened(path) as store:
        assert await store.ids() == []  # in memory: requests are recorded all the same

    assert path.read_bytes() == before
    [(level, text)] = store.reports
    assert (level, "cannot be used" in text) == ("error", True)
