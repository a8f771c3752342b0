"""The tables of the activity store, and how an older file becomes a newer one.

A file says in `PRAGMA user_version` which steps it has had. Steps only go forward, each in one transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from swapd.observe.activity.store import NewerFile

STEPS: Final = (
    """
    CREATE TABLE activity (
      id INTEGER PRIMARY KEY AUTOINCREMENT, ts_ms INTEGER NOT NULL, model_id TEXT NOT NULL,
      req_path TEXT NOT NULL, resp_content_type TEXT NOT NULL, resp_status_code INTEGER NOT NULL,
      cache_tokens INTEGER NOT NULL, draft_tokens INTEGER NOT NULL, draft_acc_tokens INTEGER NOT NULL,
      input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
      prompt_per_second REAL NOT NULL, tokens_per_second REAL NOT NULL, duration_ms INTEGER NOT NULL,
      error_msg TEXT NOT NULL, metadata_json TEXT NOT NULL,
      ts_first_byte_ms INTEGER, queue_ms INTEGER, load_ms INTEGER, ttft_ms INTEGER,
      method TEXT, stream INTEGER, client TEXT, api_key_name TEXT, session TEXT, requested_model TEXT,
      profile TEXT, selector TEXT, upstream TEXT, req_bytes INTEGER, resp_bytes INTEGER,
      finish_reason TEXT, cancelled INTEGER, request_id TEXT, config_generation INTEGER
    );
    CREATE INDEX activity_time ON activity (ts_ms DESC, id DESC);
    CREATE INDEX activity_model ON activity (model_id, ts_ms DESC, id DESC);
    CREATE INDEX activity_prompt_speed ON activity (prompt_per_second);
    CREATE INDEX activity_token_speed ON activity (tokens_per_second);
    CREATE TABLE activity_day (
      day INTEGER NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL,
      input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cache_tokens INTEGER NOT NULL,
      duration_ms INTEGER NOT NULL, PRIMARY KEY (day, model)
    ) WITHOUT ROWID;
    """,
)
"""`activity` has one row a request, `activity_day` the sums of a day (since the epoch, in UTC) and model."""

VERSION: Final = len(STEPS)


def version_of(db: sqlite3.Connection) -> int:
    """How many steps a file has had. Raises `NewerFile`, and `sqlite3.Error` if the file is damaged."""
    version: int
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise NewerFile(
            f"the activity store was written by a newer swapd (format {version}, this one knows {VERSION}): "
            "update swapd, or set store.path to another file"
        )
    return version


def prepare(db: sqlite3.Connection) -> None:
    """Bring the tables up to date; raises what `version_of` does."""
    version = version_of(db)
    for number, step in enumerate(STEPS[version:], version + 1):
        db.executescript(f"BEGIN;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;")
