"""`/api/models…`: the models of the configuration, what their servers do, and loading them on request.

Stopping them is in `unload`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import trio
from starlette.requests import Request
from starlette.responses import Response

from swapd.config.expressions import models
from swapd.http.api.control import Control
from swapd.http.api.describe import (
    ANY_OBJECT,
    FLAG,
    INTEGER,
    STRING,
    STRINGS,
    TIME,
    array,
    described,
    json,
    named,
    nullable,
    obj,
)
from swapd.http.api.model_entries import ENTRY, model_entry, visible_entries, wall_clock
from swapd.http.api.resource import flag, json_response
from swapd.http.auth import caller_of
from swapd.http.errors import Rejected, from_refusal
from swapd.http.paths import parameter
from swapd.nursery.lease import Refused
from swapd.nursery.plans import policy_for
from swapd.nursery.policy import View
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from swapd.config import Config, ModelConfig

_MASK: Final = "********"
_SECRET_FLAG: Final = re.compile(r"(--?[\w-]*(?:key|token|secret|passw)[\w-]*)(=.*)?", re.IGNORECASE)


NOBODY_IN_PARTICULAR: Final = "api"
"""Who has pinned a model, where no keys with names are configured."""

_PINNED: Final = obj({"pinned_by": nullable(STRING)})
_START: Final = obj(
    {
        "started_at": TIME,
        **dict.fromkeys(("ready_at", "ended_at"), nullable(TIME)),
        "outcome": STRING,
        "exit_code": nullable(INTEGER),
        "signal": nullable(INTEGER),
        "reason": nullable(STRING),
    }
)
_DETAIL: Final = named(
    "ModelDetail",
    {
        "allOf": [
            ENTRY,
            obj(
                {},
                {
                    **dict.fromkeys(("cmd", "env_names", "groups", "sets", "would_evict"), STRINGS),
                    **dict.fromkeys(("selectors", "profiles"), STRINGS),
                    "proxy": STRING,
                    "cwd": nullable(STRING),
                    "cmd_stop": STRING,
                    "metadata": ANY_OBJECT,
                    "concurrency": obj(dict.fromkeys(("limit", "reserved", "queued"), INTEGER)),
                    "starts": array(_START),
                    "breaker": nullable(
                        obj({"state": STRING, "failures": INTEGER, "retry_at": nullable(TIME)})
                    ),
                },
            ),
        ]
    },
)


@described("The models of the configuration and how they stand", json(obj({"models": array(ENTRY)})))
async def list_entries(control: Control, request: Request) -> Response:
    """`GET /api/models`."""
    return json_response({"models": visible_entries(control, caller_of(request.scope))})


@described("One model in detail", json(_DETAIL), errors=(404,))
async def detail(control: Control, request: Request) -> Response:
    """`GET /api/models/{model…}`: the entry of one model and everything else that is known of it."""
    name = parameter(request.path_params["model"])
    entry = model_entry(control, name)
    if entry is None:
        raise Rejected.with_code("not_found", "model not found")
    require_allowed(control, request, entry["id"])
    id = control.config().resolve(name)
    if id is not None:
        entry.update(_details(control, control.config().models[id]))
    return json_response(entry)


@described(
    "Start one model",
    json(obj({"state": STRING})),
    more={202: json(obj({"state": STRING}))},
    errors=(404, 502, 503, 504),
    query={"wait": FLAG},
)
async def load(control: Control, request: Request) -> Response:
    """`POST /api/models/load/{model…}`: start it, whatever failures went before."""
    model = _local(control, request)
    if flag(request, "wait"):
        await _done(control.manager.load, model)
        return json_response({"state": ModelState.READY.value})
    control.start_soon(_done_quietly, control.manager.load, model)
    await trio.lowlevel.checkpoint()
    return json_response({"state": _state(control, model)}, status=202)


@described(
    "Stop one model when its requests have ended, and start it again",
    json(obj({"state": STRING})),
    more={202: json(obj({"state": STRING}))},
    errors=(404, 502, 503, 504),
    query={"wait": FLAG},
)
async def restart(control: Control, request: Request) -> Response:
    """`POST /api/models/restart/{model…}`: stop it when its requests have ended, then start it."""
    model = _local(control, request)
    if flag(request, "wait"):
        await _done(control.manager.restart, model)
        return json_response({"state": ModelState.READY.value})
    control.start_soon(_done_quietly, control.manager.restart, model)
    await trio.lowlevel.checkpoint()
    return json_response({"state": _state(control, model)}, status=202)


@described("Keep a model loaded, however long it is idle", json(_PINNED), errors=(404,))
async def keep(control: Control, request: Request) -> Response:
    """`PUT /api/models/keep/{model…}`: until it is taken back, or the daemon ends."""
    return _pin(control, request, caller_of(request.scope).name or NOBODY_IN_PARTICULAR)


@described("Let a model's idle time count again", json(_PINNED), errors=(404,))
async def keep_no_longer(control: Control, request: Request) -> Response:
    """`DELETE /api/models/keep/{model…}`: its idle time counts from now."""
    return _pin(control, request, None)


def _pin(control: Control, request: Request, by: str | None) -> Response:
    control.manager.pin(_local(control, request), by)
    control.telemetry.events.models_changed()
    return json_response({"pinned_by": by})


def _local(control: Control, request: Request) -> str:
    model = control.config().resolve(parameter(request.path_params["model"]))
    if model is None:
        raise Rejected.with_code("not_found", "model not found")
    require_allowed(control, request, model)
    return model


def require_allowed(control: Control, request: Request, model: str) -> None:
    """Raises `Rejected` unless the key that was shown is good for the model."""
    if not caller_of(request.scope).may_use(model, control.config()):
        raise Rejected.with_code("model_not_allowed", f"api key is not allowed to use model {model}")


async def _done(action: Callable[[str], Awaitable[None]], model: str) -> None:
    try:
        await action(model)
    except Refused as refused:
        raise Rejected(from_refusal(refused.refusal)) from None


async def _done_quietly(action: Callable[[str], Awaitable[None]], model: str) -> None:
    try:
        await action(model)
    except Refused:
        pass  # the log says why, and so does the model's entry


def _state(control: Control, model: str) -> str:
    status = control.manager.snapshot().models.get(model)
    return (ModelState.STOPPED if status is None else status.state).value


def _details(control: Control, model: ModelConfig) -> dict[str, Any]:
    config = control.config()
    status: Any = control.manager.snapshot().models.get(model.id)
    group = config.routing.group_of(model.id)
    return {
        "cmd": _masked(model.argv),
        "proxy": model.proxy,
        "cwd": None,  # servers run where the daemon runs
        "env_names": [item.partition("=")[0] for item in model.env],
        "cmd_stop": model.cmd_stop,
        "metadata": dict(model.metadata),
        "concurrency": {
            "limit": model.concurrency_limit,
            "reserved": 0 if status is None else status.reserved,
            "queued": 0 if status is None else status.queued,
        },
        "starts": [start.as_json() for start in reversed(control.history.of(model.id).starts)],
        "groups": [group.name] if config.routing.engine == "group" else [],
        "sets": _sets(config, model.id),
        "would_evict": _would_evict(control, config, model.id),
        "selectors": [id for id, selector in config.selectors.items() if model.id in selector.resolved],
        "profiles": [
            id
            for id, profile in config.profiles.items()
            if any(config.resolve(target) == model.id for target in profile.pins.values())
        ],
        "breaker": _breaker(control, status),
    }


def _sets(config: Config, model: str) -> list[str]:
    matrix = config.routing.matrix
    if matrix is None:
        return []
    return [each.name for each in matrix.sets if model in models(each.expression)]


def _would_evict(control: Control, config: Config, model: str) -> list[str]:
    """Who would have to stop if the model were asked for now."""
    running = tuple(id for id in control.running() if id != model)
    return list(policy_for(config).evict(model, View(tuple(sorted(running)))) or ())


def _breaker(control: Control, status: Any) -> dict[str, Any] | None:
    """Whether starts are held back after failures; None for a model that has not failed lately."""
    if status is None or not status.failures:
        return None
    is_open = status.retry_at is not None
    return {
        "state": "open" if is_open else "closed",
        "failures": status.failures,
        "retry_at": wall_clock(control, status.retry_at) if is_open else None,
    }


def _masked(argv: tuple[str, ...]) -> list[str]:
    """The words of a command, without what stands behind `--api-key` and its like."""
    words: list[str] = []
    hide_next = False
    for word in argv:
        match = _SECRET_FLAG.fullmatch(word)
        if hide_next:
            words.append(_MASK)
        elif match and match[2]:
            words.append(f"{match[1]}={_MASK}")
        else:
            words.append(word)
        # A flag that names a file gives away nothing.
        hide_next = bool(match and not match[2] and "file" not in word.lower() and not hide_next)
    return words
