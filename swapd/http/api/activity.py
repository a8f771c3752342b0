"""`/api/metrics…`: the activity log, in pages, in sums, and as a download."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    TIME,
    array,
    described,
    json,
    mapping,
    named,
    nullable,
    obj,
    one_of,
)
from swapd.http.api.resource import json_response
from swapd.http.errors import Rejected
from swapd.http.record import RECORD
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send
from swapd.observe.activity.query import (
    SORT_COLUMNS,
    BadQuery,
    Filters,
    Page,
    Parameters,
    parse_filters,
    parse_page,
)
from swapd.observe.activity.row import COLUMNS, ActivityRow, as_json
from swapd.observe.activity.store import StoreFailed

OLD_ROUTE_ROWS: Final = 1000
_WINDOW: Final = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


_ID: Final = {"type": "integer", "minimum": 1}
_FILTERS: Final = {
    "model": array(STRING),
    **dict.fromkeys(("start", "end"), TIME),
    **dict.fromkeys(("min_id", "max_id"), _ID),
    "after_id": {"type": "integer", "minimum": 0},
    "status": {"type": "string", "pattern": "^([1-5][0-9][0-9]|4xx|5xx|error)$"},
    **dict.fromkeys(("path", "key", "session", "q"), STRING),
    "has_capture": one_of("1"),
}
_ROW: Final = named(
    "ActivityRow",
    obj(
        {
            "id": INTEGER,
            "timestamp": TIME,
            **dict.fromkeys(("model", "req_path", "resp_content_type"), STRING),
            "resp_status_code": INTEGER,
            "tokens": obj(
                {
                    **dict.fromkeys(("cache_tokens", "draft_tokens", "draft_acc_tokens"), INTEGER),
                    **dict.fromkeys(("input_tokens", "output_tokens"), INTEGER),
                    **dict.fromkeys(("prompt_per_second", "tokens_per_second"), NUMBER),
                }
            ),
            "duration_ms": INTEGER,
            "has_capture": BOOLEAN,
        },
        {
            "error_msg": STRING,
            "metadata": mapping(STRING),
            **dict.fromkeys(("method", "requested_model", "profile", "upstream"), STRING),
            **dict.fromkeys(("client", "session", "finish_reason"), STRING),
            **dict.fromkeys(("ts_ms", "ts_first_byte_ms", "queue_ms", "load_ms", "ttft_ms"), INTEGER),
            **dict.fromkeys(("req_bytes", "resp_bytes", "config_generation"), INTEGER),
            **dict.fromkeys(("stream", "cancelled"), BOOLEAN),
        },
    ),
)
_PAGE: Final = obj({"data": array(_ROW), **dict.fromkeys(("page", "limit", "total", "total_pages"), INTEGER)})
_HISTOGRAM: Final = nullable(
    obj(
        {
            "bins": array(INTEGER),
            **dict.fromkeys(("min", "max", "binSize", "p50", "p95", "p99"), NUMBER),
        }
    )
)
_QUANTILES: Final = nullable(obj(dict.fromkeys(("p50", "p95", "p99"), NUMBER)))
_STATISTICS: Final = named(
    "Statistics",
    obj(
        {
            **dict.fromkeys(("total_requests", "total_input_tokens"), INTEGER),
            **dict.fromkeys(("total_output_tokens", "total_cache_tokens"), INTEGER),
            **dict.fromkeys(("prompt_histogram", "gen_histogram"), _HISTOGRAM),
        },
        {"error_rate": nullable(NUMBER), **dict.fromkeys(("ttft_ms", "queue_ms", "load_ms"), _QUANTILES)},
    ),
)


@described(
    "What was asked, a page at a time or as a download",
    {**json(_PAGE), "text/csv": STRING, "application/x-ndjson": STRING},
    errors=(400, 500),
    query={
        **_FILTERS,
        "limit": {"type": "integer", "minimum": 1, "maximum": 999},
        "page": {"type": "integer", "minimum": 1},
        "sort": one_of(*SORT_COLUMNS),
        "order": one_of("asc", "desc"),
        "format": one_of("json", "csv", "jsonl"),
    },
)
async def page(control: Control, request: Request) -> Response | ASGIApp:
    """`GET /api/metrics/activity`: one page of rows, or all that match as CSV or JSON Lines."""
    given = Parameters(request.query_params.multi_items())
    filters, wanted = _understood(lambda: (_filters(control, given), parse_page(given)))
    form = given.one("format") or _FORM_OF.get(request.headers.get("accept", ""), "json")
    if form in _WRITERS:
        return Download(control, filters, form)
    try:
        rows, total = await control.telemetry.activity.page(filters, wanted)
    except StoreFailed:
        raise Rejected.with_code("internal_error", "failed to get activity") from None
    return json_response(
        {
            "data": [shown(control, row) for row in rows],
            "page": wanted.number,
            "limit": wanted.limit,
            "total": total,
            "total_pages": -(-total // wanted.limit),
        }
    )


@described(
    "The same in sums",
    json(_STATISTICS),
    errors=(400, 500),
    query={**_FILTERS, "window": {"type": "string", "pattern": "^([0-9]{1,9}[smhd]|all)$"}},
)
async def stats(control: Control, request: Request) -> Response:
    """`GET /api/metrics/stats`: sums, distribution of speeds; with filters or a window, of times too."""
    given = Parameters(request.query_params.multi_items())
    filters = _understood(lambda: _within_window(control, _filters(control, given), given.one("window")))
    detailed = bool(given.one("window")) or filters != Filters(models=filters.models)
    try:
        answer = await control.telemetry.activity.statistics(filters, detailed=detailed)
    except StoreFailed:
        raise Rejected.with_code("internal_error", "failed to get activity stats") from None
    return json_response(answer)


@described("The newest 1000 rows, oldest first", json(array(_ROW)), errors=(500,))
async def all_rows(control: Control, request: Request) -> Response:
    """`GET /api/metrics`, as the first releases of this API had it: the newest 1000 rows, oldest first."""
    rows, total = await _newest(control)
    body = msgspec.json.encode([shown(control, row) for row in rows])
    return Response(body, media_type="application/json", headers={"x-total-count": str(total)})


async def newest_rows(control: Control) -> list[ActivityRow]:
    """At most the newest 1000 rows, oldest first."""
    return (await _newest(control))[0]


async def _newest(control: Control) -> tuple[list[ActivityRow], int]:
    try:
        rows, total = await control.telemetry.activity.page(Filters(), Page(limit=OLD_ROUTE_ROWS))
    except StoreFailed:
        raise Rejected.with_code("internal_error", "failed to get activity") from None
    return rows[::-1], total


def shown(control: Control, row: ActivityRow) -> dict[str, Any]:
    """A row as the API shows it, with whether there is a capture now."""
    return as_json(row, has_capture=row.id in control.telemetry.captures)


class Download:
    """All rows that match, oldest first, written as they are read."""

    def __init__(self, control: Control, filters: Filters, form: str) -> None:
        self._control = control
        self._filters = filters
        self._form = form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = scope[RECORD]
        content_type, write = _WRITERS[self._form]
        record.status = 200
        headers = [
            (b"content-type", content_type),
            (b"content-disposition", b'attachment; filename="activity.%b"' % self._form.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            # Should the store fail in the middle, the exception breaks the connection: no part looks whole.
            rows: list[ActivityRow] | None = None
            while rows is None or rows:
                piece = write(self._control, rows)
                record.bytes_sent += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                last = rows[-1].id if rows else 0
                rows = await self._control.telemetry.activity.after(self._filters, last)
        await send({"type": "http.response.body", "body": b""})


Writer = Callable[[Control, "list[ActivityRow] | None"], bytes]
"""Rows as text; for None what stands in front of the first."""


def _as_lines(control: Control, rows: list[ActivityRow] | None) -> bytes:
    return b"".join(msgspec.json.encode(shown(control, row)) + b"\n" for row in rows or ())


def _as_csv(control: Control, rows: list[ActivityRow] | None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    if rows is None:
        writer.writerow(COLUMNS)
    for row in rows or ():
        writer.writerow([_cell(getattr(row, name)) for name in COLUMNS])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A value for a spreadsheet: text that it would take for a formula is marked as text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


_WRITERS: Final[dict[str, tuple[bytes, Writer]]] = {
    "csv": (b"text/csv; charset=utf-8", _as_csv),
    "jsonl": (b"application/x-ndjson", _as_lines),
}
_FORM_OF: Final = {"text/csv": "csv", "application/x-ndjson": "jsonl"}


def _filters(control: Control, given: Parameters) -> Filters:
    return parse_filters(given, control.telemetry.captures.ids() if given.one("has_capture") else ())


def _within_window(control: Control, filters: Filters, window: str) -> Filters:
    """Only rows as old as a window such as `7d`, `90m`; `all` is no limit."""
    if window in ("", "all"):
        return filters
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise BadQuery("window must be a time such as 90m, 24h or 7d, or all")
    since = int(control.now() * 1000) - int(match[1]) * _UNIT_MS[match[2]]
    return msgspec.structs.replace(filters, start_ms=max(since, filters.start_ms or since))


def _understood(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except BadQuery as error:
        raise Rejected.with_code("bad_request", str(error)) from None
