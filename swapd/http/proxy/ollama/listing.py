"""Models the way Ollama describes them. What is not known of a file is empty or zero."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import trio

from swapd.config import Config, ModelConfig
from swapd.http.auth import caller_of
from swapd.http.proxy.targets import Target
from swapd.http.server.asgi import Scope
from swapd.nursery.snapshot import Snapshot
from swapd.nursery.states import ModelState

Json = dict[str, Any]

_NEVER = "2318-01-01T00:00:00Z"
"""When a model goes that never goes: what Ollama says, too."""


def tags(config: Config, scope: Scope, loaded_at: float) -> list[Json]:
    """The models a client may choose from: ours, the peers', and the selectors."""
    modified = _text(datetime.fromtimestamp(loaded_at, UTC))
    return [
        {
            "name": name,
            "model": name,
            "modified_at": modified,
            "size": 0,
            "digest": _digest(name),
            "details": _details(),
        }
        for name in sorted(_names(config, scope))
    ]


def running(config: Config, scope: Scope, snapshot: Snapshot) -> list[Json]:
    """The models that are ready now."""
    may_use = caller_of(scope).may_use
    return [
        {
            "name": id,
            "model": id,
            "size": 0,
            "digest": _digest(id),
            "details": _details(),
            "expires_at": _expiry(config.models[id], model.last_use),
            "size_vram": 0,
            "context_length": config.models[id].capabilities.context,
        }
        for id, model in snapshot.models.items()
        if model.state is ModelState.READY and id in config.models and may_use(id, config)
    ]


def shown(target: Target, loaded_at: float) -> Json:
    """What `/api/show` tells about a model."""
    info: Json = {"general.architecture": "unknown"}
    abilities = ["completion"]
    if isinstance(target, ModelConfig):
        can = target.capabilities
        if can.context > 0:
            info["unknown.context_length"] = can.context
        if can.tools:
            abilities.append("tools")
        if "image" in can.inputs:
            abilities.append("vision")
        if "embedding" in can.outputs:
            abilities = ["embedding"]
    return {
        "license": "",
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(),
        "model_info": info,
        "capabilities": abilities,
        "modified_at": _text(datetime.fromtimestamp(loaded_at, UTC)),
    }


def _names(config: Config, scope: Scope) -> Iterator[str]:
    may_use = caller_of(scope).may_use
    for model in config.models.values():
        if not model.unlisted and may_use(model.id, config):
            yield model.id
            if config.include_aliases_in_list:
                yield from model.aliases
    for name, (peer, own_name) in config.peer_names.items():
        if name == f"{peer}/{own_name}" and may_use(name, config):
            yield name
    for name, selector in config.selectors.items():
        if not selector.unlisted and any(may_use(target, config) for target in selector.resolved):
            yield name


def _expiry(model: ModelConfig, last_use: float) -> str:
    if not model.ttl_s:
        return _NEVER
    left = last_use + model.ttl_s - trio.current_time()
    return _text(datetime.now(UTC) + timedelta(seconds=left))


def _details() -> Json:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "",
        "families": None,
        "parameter_size": "",
        "quantization_level": "",
    }


def _digest(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
