"""`/api/performance` and `/api/hardware`: how busy the machine is, and what it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import (
    ANY_OBJECT,
    BOOLEAN,
    INTEGER,
    STRING,
    TIME,
    array,
    described,
    json,
    named,
    obj,
    one_of,
)
from swapd.http.api.resource import json_response
from swapd.http.errors import Rejected
from swapd.observe.activity.query import BadQuery, moment
from swapd.observe.sampling.hardware import HardwareUnknown
from swapd.observe.sampling.readings import GPU_FIELDS, SYSTEM_FIELDS, summary_as_json
from swapd.observe.sampling.rings import RESOLUTIONS, Summary
from swapd.observe.sampling.sampler import Sampler
from swapd.observe.timestamps import utc_timestamp

HARDWARE_LIMIT_S: Final = 10.0


_SAMPLES: Final = array(obj({"timestamp": TIME}))
_PERFORMANCE: Final = obj(
    {
        "enabled": BOOLEAN,
        "gpu_stats": _SAMPLES,
        "sys_stats": _SAMPLES,
        "probes": array(obj({"source": STRING, "ok": BOOLEAN, "message": STRING})),
    }
)
_HARDWARE: Final = named(
    "Hardware",
    obj(
        {
            "schema_version": INTEGER,
            "captured_at": TIME,
            **dict.fromkeys(("capture", "architecture", "operating_system", "environment"), ANY_OBJECT),
            **dict.fromkeys(("cpu", "memory"), ANY_OBJECT),
            "accelerators": array(ANY_OBJECT),
        }
    ),
)


@described(
    "How busy the machine was",
    json(_PERFORMANCE),
    more={503: json(obj({"enabled": BOOLEAN}))},
    errors=(400,),
    query={"after": TIME, "resolution": one_of("raw", "1m", "10m")},
)
async def performance(control: Control, request: Request) -> Response:
    """Readings of the last hour, or of those after `?after=`; with `?resolution=1m` or `10m` what is left of
    those of the last day, or week."""
    sampler = control.telemetry.sampler
    try:
        after = moment("after", request.query_params.get("after", ""))
    except BadQuery as error:
        raise Rejected.with_code("bad_request", str(error)) from None
    resolution = request.query_params.get("resolution") or "raw"
    if resolution != "raw" and resolution not in RESOLUTIONS:
        raise Rejected.with_code("bad_request", "resolution must be raw, 1m or 10m")
    if not sampler.enabled:
        return json_response({"enabled": False}, status=503)
    await sampler.fresh()
    after_ms = -math.inf if after is None else after.timestamp() * 1000
    systems, gpus = _raw(sampler, after_ms) if resolution == "raw" else _coarse(sampler, resolution, after_ms)
    return json_response(
        {
            "enabled": True,
            "gpu_stats": gpus,
            "sys_stats": systems,
            "probes": [probe.as_json() for probe in sampler.probes()],
        }
    )


@described("What the machine is", json(_HARDWARE), errors=(503,))
async def hardware(control: Control, request: Request) -> Response:
    """The machine, as it was when somebody first asked."""
    found: dict[str, Any] | None = None
    with trio.move_on_after(HARDWARE_LIMIT_S):
        try:
            found = await control.telemetry.sampler.hardware()
        except HardwareUnknown:
            pass
    if found is None:
        raise Rejected.with_code("hardware_unavailable", "hardware detection unavailable")
    return json_response(found)


def _raw(sampler: Sampler, after_ms: float) -> tuple[list[Any], list[Any]]:
    ticks = list(sampler.history.after(after_ms))
    gpus = [
        gpu.as_json(id, tick.ts_ms, tick.owners)
        for tick in ticks
        for id, gpu in zip(tick.ids, tick.gpus, strict=True)
    ]
    return [tick.system.as_json() for tick in ticks], gpus


def _coarse(sampler: Sampler, resolution: str, after_ms: float) -> tuple[list[Any], list[Any]]:
    history = sampler.history
    systems = [
        {"timestamp": _begin(each), **summary_as_json(SYSTEM_FIELDS, each.low, each.mean, each.high)}
        for each in history.system[resolution].summaries(after_ms)
    ]
    return systems, list(_coarse_gpus(sampler, resolution, after_ms))


def _coarse_gpus(sampler: Sampler, resolution: str, after_ms: float) -> Iterator[dict[str, Any]]:
    for id, ring in sampler.history.gpus[resolution].items():
        device = sampler.devices[id]
        for each in ring.summaries(after_ms):
            yield {
                "timestamp": _begin(each),
                "id": id,
                "name": device.name,
                "uuid": device.uuid,
                **summary_as_json(GPU_FIELDS, each.low, each.mean, each.high),
            }


def _begin(summary: Summary) -> str:
    return utc_timestamp(summary.ts_ms * 1_000_000)
