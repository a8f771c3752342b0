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
from swapd.http.api.resource import json_response

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


async def list_models(control: Control, request: Request) -> Response:
    records = sorted(_local_records(control), key=_id_of)  # by code point, which is byte order in UTF-8
    origin = request.headers.get("origin")
    return json_response(
        {"data": records, "object": "list"},
        headers={"access-control-allow-origin": origin} if origin else None,
    )


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
