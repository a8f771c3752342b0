"""From a request that has ended to its row in the activity log.

What is noted when a request ends is little. The row is made of it when somebody asks for it, or when it is to
be written to a file; of a busy daemon that keeps its rows in memory, most are never asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from swapd.observe.activity.row import ActivityRow
from swapd.observe.tap import BodyTap, Outcome

if TYPE_CHECKING:
    from swapd.observe.inflight import InFlightRequest

_NO_METADATA: Mapping[str, str] = {}
_NAME = itemgetter(0)


def tap_for(request: InFlightRequest, keep: int) -> BodyTap:
    """What looks into the response to `request`, whose headers are known; keeps `keep` bytes of its body."""
    content_type = encoding = None
    for name, value in request.response_headers:
        if name == b"content-type" and content_type is None:
            content_type = value
        elif name == b"content-encoding" and encoding is None:
            encoding = value
    return BodyTap(
        request, (content_type or b"").decode("latin-1"), (encoding or b"").decode("latin-1").lower(), keep
    )


def outcome_of(request: InFlightRequest) -> Outcome:
    """What there is to learn of an ended request's response."""
    tap: BodyTap | None = request.tap
    if tap is None:
        tap = BodyTap(request, "", "", 0)  # no response of an upstream: an error of ours, or nothing
    return tap.outcome(request.progress.status, request.forwarded_path)


class GoingBy(Struct, frozen=True, gc=False):
    """The configuration in force, as far as rows tell of it."""

    generation: int = 1
    priorities: Mapping[str, int] = {}
    """Of models in the queue, those that are not 0."""


class EndedRequest(Struct, eq=False):
    """What a row is made of: a request that has ended, and what was learned from its response.

    The request's contents (see `InFlightRequest.forget_contents`) are not needed any more.
    """

    request: InFlightRequest
    outcome: Outcome
    content_type: str
    req_bytes: int | None
    session: str | None
    going_by: GoingBy
    ended: float
    """When: seconds of `time.perf_counter`, and, in the next field, nanoseconds since the epoch."""
    ended_ns: int
    id: int = 0

    def row(self) -> ActivityRow:
        """May be called in any thread."""
        request, outcome = self.request, self.outcome
        tokens = outcome.tokens
        first_byte = request.first_byte
        metadata = request.metadata or _NO_METADATA
        if request.granted and not request.upstream:
            metadata = {"fifo_priority": str(self.going_by.priorities.get(request.model, 0)), **metadata}
        return ActivityRow(
            id=self.id,
            ts_ms=self.ended_ns // 1_000_000,
            model_id=request.model,
            req_path=request.forwarded_path,
            resp_content_type=self.content_type,
            resp_status_code=request.progress.status,
            cache_tokens=tokens.cached,
            draft_tokens=tokens.draft,
            draft_acc_tokens=tokens.draft_accepted,
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            prompt_per_second=tokens.prompt_per_s,
            tokens_per_second=tokens.generated_per_s,
            duration_ms=int(max((self.ended - request.started) * 1000, outcome.model_ms)),
            error_msg=outcome.error,
            metadata_json=msgspec.json.encode(metadata).decode() if metadata else "",
            ts_first_byte_ms=_wall_ms(request, first_byte) if first_byte else None,
            queue_ms=_ms(request, request.granted),
            ttft_ms=_ms(request, first_byte),
            method=request.method,
            stream=int(request.streamed),
            client=request.client,
            api_key_name=request.key_name or None,
            session=self.session,
            requested_model=request.requested if request.requested != request.model else None,
            selector=metadata.get("selector"),
            upstream=request.upstream or None,
            req_bytes=self.req_bytes,
            resp_bytes=request.progress.bytes_sent,
            finish_reason=outcome.finish_reason or None,
            cancelled=1 if request.cancelled else None,
            request_id=metadata.get("request_id"),
            config_generation=self.going_by.generation,
            **(request.extra_columns or {}),
        )


def ended(
    request: InFlightRequest, outcome: Outcome, *, session_headers: dict[bytes, None], going_by: GoingBy
) -> EndedRequest:
    """A request that has ended just now. `session_headers` are lower-case names, the first counts most."""
    body = request.request_body
    return EndedRequest(
        request,
        outcome,
        "" if request.tap is None else request.tap.content_type,
        None if body is None else len(body),
        _session(request, session_headers),
        going_by,
        time.perf_counter(),
        time.time_ns(),
    )


def _ms(request: InFlightRequest, moment: float) -> int | None:
    """Whole milliseconds from the start of the request to a moment, never more than the request took in all;
    None if it has not come.
    """
    return int((moment - request.started) * 1000) if moment else None


def _wall_ms(request: InFlightRequest, moment: float) -> int:
    return request.started_ns // 1_000_000 + round((moment - request.started) * 1000)


def _session(request: InFlightRequest, names: dict[bytes, None]) -> str | None:
    if names.keys().isdisjoint(map(_NAME, request.headers)):
        return None
    firsts = dict(reversed([pair for pair in request.headers if pair[0] in names]))
    values = (firsts.get(name, b"").strip() for name in names)
    return next((value.decode("latin-1")[:200] for value in values if value), None)
