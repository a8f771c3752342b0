"""One row of the activity log, as it is stored and as the API shows it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from swapd.observe.timestamps import utc_second


class ActivityRow(Struct):
    """One request for a model, after its answer has ended.

    The fields are the columns of the table, in this order. Times in milliseconds, `ts_ms` (the end) and
    `ts_first_byte_ms` since the epoch; None for what is not known. Token counts and speeds of -1 were not
    reported.
    """

    id: int
    ts_ms: int
    model_id: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    input_tokens: int
    output_tokens: int
    prompt_per_second: float
    tokens_per_second: float
    duration_ms: int
    error_msg: str = ""
    metadata_json: str = ""
    ts_first_byte_ms: int | None = None
    queue_ms: int | None = None
    load_ms: int | None = None
    ttft_ms: int | None = None
    method: str | None = None
    stream: int | None = None
    client: str | None = None
    api_key_name: str | None = None
    session: str | None = None
    requested_model: str | None = None
    profile: str | None = None
    selector: str | None = None
    upstream: str | None = None
    req_bytes: int | None = None
    resp_bytes: int | None = None
    finish_reason: str | None = None
    cancelled: int | None = None
    request_id: str | None = None
    config_generation: int | None = None

    def row(self) -> ActivityRow:
        """Itself: what the store is given may be a row, or something that a row can be made of."""
        return self


COLUMNS = ActivityRow.__struct_fields__

_OPTIONAL = (
    *("method", "requested_model", "profile", "upstream", "client", "session"),
    *("queue_ms", "load_ms", "ttft_ms", "ts_first_byte_ms", "req_bytes", "resp_bytes"),
    *("finish_reason", "config_generation"),
)


def as_json(row: ActivityRow, *, has_capture: bool) -> dict[str, Any]:
    """The row as the API shows it."""
    shown: dict[str, Any] = {
        "id": row.id,
        "timestamp": utc_second(row.ts_ms // 1000),
        "model": row.model_id,
        "req_path": row.req_path,
        "resp_content_type": row.resp_content_type,
        "resp_status_code": row.resp_status_code,
        "tokens": {
            "cache_tokens": row.cache_tokens,
            "draft_tokens": row.draft_tokens,
            "draft_acc_tokens": row.draft_acc_tokens,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "prompt_per_second": row.prompt_per_second,
            "tokens_per_second": row.tokens_per_second,
        },
        "duration_ms": row.duration_ms,
        "has_capture": has_capture,
    }
    if row.error_msg:
        shown["error_msg"] = row.error_msg
    if row.metadata_json:
        shown["metadata"] = msgspec.json.decode(row.metadata_json)
    shown["ts_ms"] = row.ts_ms
    for name in _OPTIONAL:
        value = getattr(row, name)
        if value is not None and value != "":
            shown[name] = value
    for name in ("stream", "cancelled"):
        if getattr(row, name) is not None:
            shown[name] = bool(getattr(row, name))
    return shown
