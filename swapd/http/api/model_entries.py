"""Models as the control API shows them: what is configured, and what their servers are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from swapd.http.api.control import Control
from swapd.http.api.describe import (
    ANY_OBJECT,
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    STRINGS,
    TIME,
    array,
    mapping,
    named,
    obj,
)
from swapd.http.api.model_list import capability_fields
from swapd.http.auth import Caller
from swapd.nursery.states import ModelState
from swapd.observe.timestamps import utc_timestamp

if TYPE_CHECKING:
    from swapd.config import ModelConfig

Entry = dict[str, Any]


ENTRY: Final = named(
    "ModelEntry",
    obj(
        {
            **dict.fromkeys(("id", "name", "description", "state"), STRING),
            "unlisted": BOOLEAN,
            "peerID": STRING,
        },
        {
            "aliases": STRINGS,
            "capabilities": mapping(BOOLEAN),
            **dict.fromkeys(("context_length", "pid", "port", "load_ms", "inflight", "queued"), INTEGER),
            **dict.fromkeys(("started_at", "ready_at", "last_used_at", "expires_at"), TIME),
            "ttl_s": NUMBER,
            "rss_mb": NUMBER,
            "vram": array(ANY_OBJECT),
            "last_error": STRING,
            "pinned_by": STRING,
            "outdated": BOOLEAN,
        },
    ),
)


def model_entries(control: Control) -> list[Entry]:
    """Every model of this machine by id, listed or not; then those of the peers."""
    snapshot = control.manager.snapshot().models
    entries = [
        _local_entry(control, model, snapshot.get(id)) for id, model in control.config().models.items()
    ]
    for peer_id, peer in control.config().peers.items():
        entries += [_peer_entry(peer_id, name) for name in peer.models]
    return entries


def visible_entries(control: Control, caller: Caller) -> list[Entry]:
    """The entries of those models that the caller may use."""
    entries = model_entries(control)
    if not caller.is_limited:
        return entries
    return [entry for entry in entries if caller.may_use(entry["id"], control.config())]


def model_entry(control: Control, name: str) -> Entry | None:
    """The entry of one model, by id or alias, or by the qualified name of a peer's model."""
    config = control.config()
    id = config.resolve(name)
    if id is not None:
        return _local_entry(control, config.models[id], control.manager.snapshot().models.get(id))
    for peer_id, peer in config.peers.items():
        for model in peer.models:
            if name == f"{peer_id}/{model}":
                return _peer_entry(peer_id, model)
    return None


def _peer_entry(peer: str, model: str) -> Entry:
    return {
        "id": f"{peer}/{model}",
        "name": "",
        "description": "",
        "state": "",
        "unlisted": False,
        "peerID": peer,
    }


def _local_entry(control: Control, model: ModelConfig, status: Any) -> Entry:
    state = ModelState.STOPPED if status is None else status.state
    entry: Entry = {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "state": state.value,
        "unlisted": model.unlisted,
        "peerID": "",
    }
    fields = capability_fields(model.capabilities)
    known = {
        "aliases": list(model.aliases),
        "capabilities": fields.get("capabilities"),
        "context_length": fields.get("context_length"),
        "ttl_s": model.ttl_s,
        **_runtime(control, model, status),
        **_memory(control, model),
        **control.history.of(model.id).summary(),
    }
    entry.update({key: value for key, value in known.items() if value})
    return entry


def _runtime(control: Control, model: ModelConfig, status: Any) -> Entry:
    """What the server of a model is doing; empty for one that has none."""
    if status is None:
        return {}
    known: Entry = {
        "queued": status.queued,
        "inflight": status.leases,
        "pinned_by": status.pinned_by,
        "outdated": status.outdated,
    }
    if status.last_use:
        known["last_used_at"] = wall_clock(control, status.last_use)
    if status.state not in (ModelState.STARTING, ModelState.READY, ModelState.STOPPING):
        return known
    known["pid"] = status.pid
    known["port"] = model.port
    known["started_at"] = wall_clock(control, status.started_at)
    if status.state is ModelState.STARTING or status.ready_at < status.started_at:
        return known
    known["ready_at"] = wall_clock(control, status.ready_at)
    known["load_ms"] = round((status.ready_at - status.started_at) * 1000)
    idle = status.state is ModelState.READY and not status.leases and not status.queued
    if model.ttl_s and idle and status.pinned_by is None:
        known["expires_at"] = wall_clock(control, status.last_use + model.ttl_s)
    return known


def _memory(control: Control, model: ModelConfig) -> Entry:
    """What its server holds, as of the last reading."""
    held = control.telemetry.sampler.models.get(model.id)
    if held is None:
        return {}
    vram = None
    if held.vram_mb is not None:
        vram = [{"gpu": gpu, "mb": round(mb)} for gpu, mb in sorted(held.vram_mb.items())]
    return {"rss_mb": round(held.rss_mb, 1), "vram": vram}


def wall_clock(control: Control, at: float) -> str:
    """A moment on trio's clock as a time of day."""
    return utc_timestamp(int((control.now() + at - trio.current_time()) * 1e9))
