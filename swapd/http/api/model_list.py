"""`/v1/models`, `/models`: the names a client may ask for.

The records follow OpenAI's list format, with the additions that the clients of this field look at:
llama.cpp's `status` and `meta.n_ctx`, and under `meta.llamaswap` what the configuration says about the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from swapd.http.api.control import Control
from swapd.http.api.describe import (
    ANY_OBJECT,
    BOOLEAN,
    INTEGER,
    STRING,
    STRINGS,
    array,
    described,
    json,
    mapping,
    named,
    obj,
    one_of,
)
from swapd.http.api.resource import json_response
from swapd.http.auth import Caller, caller_of
from swapd.http.errors import Rejected
from swapd.http.paths import parameter
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from swapd.config import ModelConfig
    from swapd.config.model import Capabilities

Record = dict[str, Any]

_STATED_ELSEWHERE: Final = ("architecture", "capabilities", "supported_parameters", "context_length")
"""Metadata keys that give way to the fields of the same name once a model states its capabilities."""

_AUDIO_AND_IMAGE: Final = (
    ("audio_transcriptions", "audio", "text"),
    ("audio_speech", "text", "audio"),
    ("image_generation", "text", "image"),
    ("image_to_image", "image", "image"),
)


_RECORD: Final = named(
    "Model",
    obj(
        {
            "id": STRING,
            "object": one_of("model"),
            "created": INTEGER,
            "owned_by": STRING,
            "meta": obj({"llamaswap": obj({"type": STRING})}, {"n_ctx": INTEGER}),
            "status": obj({"value": one_of("loaded", "unloaded")}),
        },
        {
            "name": STRING,
            "description": STRING,
            "architecture": ANY_OBJECT,
            "capabilities": mapping(BOOLEAN),
            "supported_parameters": STRINGS,
            "context_length": INTEGER,
        },
    ),
)


@described(
    "The models there are, as OpenAI has it", json(obj({"object": one_of("list"), "data": array(_RECORD)}))
)
async def list_models(control: Control, request: Request) -> Response:
    """`GET /v1/models`: what the caller may use, of all that is to be listed."""
    records = sorted(
        _allowed(control, caller_of(request.scope)), key=_id_of
    )  # by code point, which is byte order in UTF-8
    origin = request.headers.get("origin")
    return json_response(
        {"data": records, "object": "list"},
        headers={"access-control-allow-origin": origin} if origin else None,
    )


@described("One of the models there are", json(_RECORD), errors=(404,))
async def one_model(control: Control, request: Request) -> Response:
    """`GET /v1/models/{id…}`: one record; aliases and unlisted models are found too."""
    name = parameter(request.path_params["id"])
    config, caller = control.config(), caller_of(request.scope)
    for record in _allowed(control, caller):
        if record["id"] == name:
            return json_response(record)
    id = config.resolve(name)
    if id is None or not caller.may_use(id, config):
        raise Rejected.with_code("not_found", "model not found")
    model = config.models[id]
    about: Record = {"type": "model"} if name == id else {"type": "alias", "modelID": id}
    if name == id and model.aliases:
        about["aliases"] = model.aliases
    return json_response(_record(model, name, int(control.now()), about, id in control.running()))


def _allowed(control: Control, caller: Caller) -> Iterator[Record]:
    config, created = control.config(), int(control.now())
    for record in _local_records(control):
        about = record["meta"]["llamaswap"]
        if caller.may_use(about["modelID"] if about["type"] == "alias" else record["id"], config):
            yield record
    for record in _peer_records(control, created):
        if caller.may_use(record["id"], config):
            yield record
    if not caller.is_limited:
        yield from _selector_records(control, created)
        yield from _pin_records(control, created)


def _peer_records(control: Control, created: int) -> Iterator[Record]:
    """The models of other servers, always by their qualified names."""
    for peer_id, peer in control.config().peers.items():
        for model in peer.models:
            record = _bare(f"{peer_id}/{model}", created, {"type": "peer", "peerID": peer_id})
            yield _named(record, f"{peer_id}: {model}", "")


def _selector_records(control: Control, created: int) -> Iterator[Record]:
    """The names that choose between models."""
    states = control.manager.snapshot().models
    loaded_states = (ModelState.READY, ModelState.STARTING)
    for id, selector in control.config().selectors.items():
        if selector.unlisted:
            continue
        about: Record = {"type": "selector", "strategy": selector.strategy, "targets": selector.targets}
        if selector.strategy == "spillover":
            about["spillover"] = selector.settings.spillover
        targets = selector.resolved[:1] if selector.strategy == "pin" else selector.resolved
        loaded = any(target in states and states[target].state in loaded_states for target in targets)
        record = _bare(id, created, {**selector.metadata, **about}, loaded=loaded)
        yield _named(record, selector.name, selector.description)


def _pin_records(control: Control, created: int) -> Iterator[Record]:
    """The names that the active profile gives a meaning, unless they have one of their own."""
    config = control.config()
    for name, target in control.profiles.pins(config).items():
        known = config.resolve(name) or name in config.selectors or config.resolve_peer(name)
        if target and not known:
            yield _bare(name, created, {"type": "profile"})


def _bare(name: str, created: int, about: Record, *, loaded: bool = False) -> Record:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "swapd",
        "meta": {"llamaswap": about},
        "status": {"value": "loaded" if loaded else "unloaded"},
    }


def _named(record: Record, name: str, description: str) -> Record:
    """The record with name and description in their place, as far as there are any."""
    given = {"name": name, "description": description}
    head = {key: record[key] for key in ("id", "object", "created", "owned_by")}
    return {**head, **{key: text for key, text in given.items() if text}, **record}


def _id_of(record: Record) -> str:
    name: str = record["id"]
    return name


def _local_records(control: Control) -> Iterator[Record]:
    """The listed models of this machine and, where it is wanted, their aliases."""
    config = control.config()
    running = control.running()
    created = int(control.now())
    for model in config.models.values():
        if model.unlisted:
            continue
        loaded = model.id in running
        about: Record = {"type": "model"}
        if model.aliases:
            about["aliases"] = model.aliases
        yield _record(model, model.id, created, about, loaded)
        if config.include_aliases_in_list:
            for alias in model.aliases:
                yield _record(model, alias, created, {"type": "alias", "modelID": model.id}, loaded)


def _record(model: ModelConfig, name: str, created: int, about: Record, loaded: bool) -> Record:
    record: Record = {"id": name, "object": "model", "created": created, "owned_by": "swapd"}
    if model.name:
        record["name"] = model.name
    if model.description:
        record["description"] = model.description
    record.update(capability_fields(model.capabilities))
    meta: Record = {"llamaswap": {**_metadata(model), **about}}
    if model.capabilities.context > 0:
        meta["n_ctx"] = model.capabilities.context
    record["meta"] = meta
    record["status"] = {"value": "loaded" if loaded else "unloaded"}
    return record


def _metadata(model: ModelConfig) -> Record:
    if not model.capabilities.stated:
        return dict(model.metadata)
    return {key: value for key, value in model.metadata.items() if key not in _STATED_ELSEWHERE}


def capability_fields(can: Capabilities) -> Record:
    """`architecture`, `capabilities`, `supported_parameters`, `context_length`: those that are not empty."""
    architecture: Record = {}
    if can.inputs:
        architecture["input_modalities"] = can.inputs
    if can.outputs:
        architecture["output_modalities"] = can.outputs
    if can.inputs and can.outputs:
        architecture["modality"] = f"{'+'.join(can.inputs)}->{'+'.join(can.outputs)}"
    fields: Record = {
        "architecture": architecture,
        "capabilities": dict.fromkeys(_abilities(can), True),
        "supported_parameters": ["tools", "tool_choice"] if can.tools else [],
        "context_length": max(can.context, 0),
    }
    return {name: value for name, value in fields.items() if value}


def _abilities(can: Capabilities) -> Iterator[str]:
    if "image" in can.inputs:
        yield "vision"
    for name, taken, given in _AUDIO_AND_IMAGE:
        if taken in can.inputs and given in can.outputs:
            yield name
    if can.tools:
        yield "function_calling"
    if can.reranker:
        yield "reranker"
