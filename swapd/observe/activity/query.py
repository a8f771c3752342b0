"""Questions to the activity store: what the API's parameters mean, and their SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

SORT_COLUMNS: Final[Mapping[str, str]] = {
    "id": "id",
    "time": "ts_ms",
    "model": "model_id",
    "req_path": "req_path",
    "resp_status_code": "resp_status_code",
    "resp_content_type": "resp_content_type",
    "cached": "cache_tokens",
    "prompt": "input_tokens",
    "generated": "output_tokens",
    "drafted": "draft_tokens",
    "prompt_speed": "prompt_per_second",
    "gen_speed": "tokens_per_second",
    "duration": "duration_ms",
}
MOST_ROWS: Final = 999
USUAL_ROWS: Final = 25


class BadQuery(ValueError):
    """A parameter that cannot be understood; the text is for whoever sent it."""


class Filters(Struct, frozen=True):
    """Which rows are wanted. Times in milliseconds since the epoch, both ends included."""

    models: tuple[str, ...] = ()
    start_ms: int | None = None
    end_ms: int | None = None
    min_id: int | None = None
    max_id: int | None = None
    status: str = ""
    path: str = ""
    key: str = ""
    session: str = ""
    text: str = ""
    ids: tuple[int, ...] | None = None
    """Only these, which have a capture."""

    def where(self) -> tuple[str, list[Any]]:
        """The condition with its `WHERE`, empty if every row is wanted, and its parameters."""
        conditions: list[str] = []
        values: list[Any] = []

        def add(condition: str, *parameters: Any) -> None:
            conditions.append(condition)
            values.extend(parameters)

        if self.models:
            add(f"model_id IN ({_marks(self.models)})", *self.models)
        for value, condition in (
            (self.start_ms, "ts_ms >= ?"),
            (self.end_ms, "ts_ms <= ?"),
            (self.min_id, "id >= ?"),
            (self.max_id, "id <= ?"),
            (self.path or None, "req_path = ?"),
            (self.key or None, "api_key_name = ?"),
            (self.session or None, "session = ?"),
        ):
            if value is not None:
                add(condition, value)
        if self.status == "error":
            add("resp_status_code <> 200")
        elif self.status in ("4xx", "5xx"):
            low = int(self.status[0]) * 100
            add("resp_status_code BETWEEN ? AND ?", low, low + 99)
        elif self.status:
            add("resp_status_code = ?", int(self.status))
        if self.text:
            pattern = "%" + self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            parts = [f"{column} LIKE ? ESCAPE '\\'" for column in ("req_path", "model_id", "error_msg")]
            add(f"({' OR '.join(parts)})", *[pattern] * 3)
        if self.ids is not None:
            # As JSON, because SQLite bounds the number of parameters.
            add("id IN (SELECT value FROM json_each(?))", msgspec.json.encode(self.ids).decode())
        return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


class Page(Struct, frozen=True):
    """Which of the wanted rows, in which order."""

    limit: int = USUAL_ROWS
    number: int = 1
    sort: str = "id"
    descending: bool = True

    def order(self) -> str:
        direction = "DESC" if self.descending else "ASC"
        column = SORT_COLUMNS[self.sort]
        return f"id {direction}" if column == "id" else f"{column} {direction}, id {direction}"


class Parameters:
    """The query parameters of a request: empty values count as missing."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name, value) for name, value in pairs if value.strip()]

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self._pairs if key == name)

    def one(self, name: str) -> str:
        """The first value; empty if there is none."""
        return next(iter(self.all(name)), "")


def parse_filters(given: Parameters, with_capture: Iterable[int] = ()) -> Filters:
    """The filters of a request. `with_capture` are the ids of rows that have one. Raises `BadQuery`."""
    start_ms, end_ms = _time(given, "start"), _time(given, "end")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise BadQuery("start must be before end")
    min_id, max_id = _id(given, "min_id"), _id(given, "max_id")
    if min_id is not None and max_id is not None and min_id > max_id:
        raise BadQuery("min_id must be <= max_id")
    if given.one("after_id"):
        after = _int(given.one("after_id"), "after_id must be >= 0")
        min_id = max(min_id or 1, after + 1)
    status = given.one("status").lower()
    if status and status not in ("4xx", "5xx", "error") and not (status.isascii() and status.isdigit()):
        raise BadQuery("status must be a code, 4xx, 5xx or error")
    return Filters(
        models=given.all("model"),
        start_ms=start_ms,
        # To the second, as the times shown are: the whole of the last second belongs to it.
        end_ms=None if end_ms is None else end_ms + 999,
        min_id=min_id,
        max_id=max_id,
        status=status,
        path=given.one("path"),
        key=given.one("key"),
        session=given.one("session"),
        text=given.one("q"),
        ids=tuple(with_capture) if given.one("has_capture") == "1" else None,
    )


def parse_page(given: Parameters) -> Page:
    """Limit, page and order of a request. Raises `BadQuery`."""
    limit = _int(given.one("limit") or str(USUAL_ROWS), "invalid limit")
    if not 1 <= limit <= MOST_ROWS:
        raise BadQuery(f"limit must be between 1 and {MOST_ROWS}")
    number = _int(given.one("page") or "1", "page must be >= 1")
    if not 1 <= number < 2**40:
        raise BadQuery("page must be >= 1")
    sort = given.one("sort") or "id"
    if sort not in SORT_COLUMNS:
        raise BadQuery("invalid sort column")
    order = (given.one("order") or "desc").lower()
    if order not in ("asc", "desc"):
        raise BadQuery("order must be asc or desc")
    return Page(limit, number, sort, order == "desc")


def _marks(values: tuple[Any, ...]) -> str:
    return ", ".join("?" * len(values))


def moment(name: str, text: str) -> datetime | None:
    """A parameter that is a time (RFC 3339), None if it is empty. Raises `BadQuery`."""
    if not text:
        return None
    try:
        if "T" not in text.upper():
            raise ValueError
        found = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + arrives as a blank
        if found.tzinfo is None:
            raise ValueError
    except ValueError:
        raise BadQuery(f"invalid '{name}' timestamp, use RFC3339 format") from None
    return found


def _time(given: Parameters, name: str) -> int | None:
    found = moment(name, given.one(name))
    return None if found is None else int(found.astimezone(UTC).timestamp()) * 1000


def _id(given: Parameters, name: str) -> int | None:
    text = given.one(name)
    if not text:
        return None
    number = _int(text, f"{name} must be >= 1")
    if not 1 <= number < 2**63:
        raise BadQuery(f"{name} must be >= 1")
    return number


def _int(text: str, otherwise: str) -> int:
    try:
        return int(text) if len(text) < 20 else 2**62
    except ValueError:
        raise BadQuery(otherwise) from None
