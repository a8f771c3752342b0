"""Takes over the activity log of a llama-swap: its file becomes one of ours, and nothing in it is lost.

Such a file is known by its `activity` table, whose times are whole seconds in `ts_created`, and by the table
in which its migrations are counted. A copy of the file as it was is left beside it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from swapd.observe.activity.schema import STEPS, VERSION

_MIGRATIONS: Final = "goose_db_version"
_THEIRS: Final = "activity_of_llama_swap"

_METADATA: Final = "CASE WHEN json_valid(metadata_json) THEN {} END"

# Our column, the one of theirs it comes from, the value, and what stands for none.
_COLUMNS: Final = (
    ("id", "id", "id", "NULL"),
    ("ts_ms", "ts_created", "ts_created * 1000", "0"),
    *((name, name, name, "''") for name in ("model_id", "req_path", "resp_content_type", "error_msg")),
    *(
        (name, name, name, "0")
        for name in ("resp_status_code", "input_tokens", "output_tokens", "duration_ms")
    ),
    *((name, name, name, "-1") for name in ("cache_tokens", "draft_tokens", "draft_acc_tokens")),
    *((name, name, name, "-1") for name in ("prompt_per_second", "tokens_per_second")),
    ("metadata_json", "metadata_json", _METADATA.format("metadata_json"), "''"),
    ("selector", "metadata_json", _METADATA.format("json_extract(metadata_json, '$.selector')"), "NULL"),
)
"""Columns have come one after another; a file that has none of a kind is older than that."""

_ADD_UP: Final = """
    INSERT INTO activity_day
    SELECT ts_ms / 86400000, model_id, count(*), sum(resp_status_code <> 200), sum(input_tokens),
           sum(output_tokens), sum(max(cache_tokens, 0)), sum(duration_ms)
    FROM activity GROUP BY 1, 2
"""


def is_llama_swaps(db: sqlite3.Connection) -> bool:
    """Whether the database was written by a llama-swap."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return version == 0 and {"activity", _MIGRATIONS} <= tables and "ts_created" in _columns(db, "activity")


def take_over(db: sqlite3.Connection, path: Path) -> str:
    """Make the database one of ours, all of it or nothing, and say what was done.

    Raises `sqlite3.Error`, for example if there is no room for the copy.
    """
    copy = _free_name(path)
    try:
        db.execute("VACUUM INTO ?", (str(copy),))
        copy.chmod(path.stat().st_mode & 0o777)
        db.execute("BEGIN IMMEDIATE")
        count = _convert(db)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        copy.unlink(missing_ok=True)
        raise
    return f"took over {count} requests from llama-swap's activity log; the file as it was is now {copy.name}"


def _convert(db: sqlite3.Connection) -> int:
    there = _columns(db, "activity")
    for (index,) in db.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'activity' AND sql IS NOT NULL"
    ).fetchall():
        db.execute(f'DROP INDEX "{index}"')
    db.execute(f"ALTER TABLE activity RENAME TO {_THEIRS}")
    for step in STEPS:
        for statement in step.split(";"):
            db.execute(statement)
    names = [ours for ours, *_ in _COLUMNS]
    values = [
        f"coalesce({value}, {none})" if theirs in there else none for _, theirs, value, none in _COLUMNS
    ]
    count = db.execute(
        f"INSERT INTO activity ({', '.join(names)}) SELECT {', '.join(values)} FROM {_THEIRS}"
    ).rowcount
    db.execute(_ADD_UP)
    db.execute(f"DROP TABLE {_THEIRS}")
    db.execute(f"DROP TABLE {_MIGRATIONS}")
    return count


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}


def _free_name(path: Path) -> Path:
    copy = path.with_name(f"{path.name}.llama-swap")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.llama-swap-{number}")
    return copy
