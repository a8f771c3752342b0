"""The effective configuration as plain values and as YAML: defaults filled in, ports numbered.

What it writes is itself a configuration that loads to the same effect. Secrets are masked unless asked for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from swapd.config.configuration import Config
from swapd.config.declare import keys_of
from swapd.config.expressions import AllOf, Expression, Model, Reference, models
from swapd.config.kinds import Duration, Kind, Seconds
from swapd.config.model import ModelConfig, ModelKeys
from swapd.config.names import ApiKey, Peer
from swapd.config.patterns import Regex
from swapd.config.routing import DEFAULT_GROUP, Group, Matrix, MemorySettings
from swapd.config.settings import Settings
from swapd.config.sleeping import SleepStep
from swapd.config.yaml_writer import Commented, scalar_text, to_yaml

MASK = "********"
_SECRET_NAME = re.compile(r"key|token|secret|password|passwd|credential", re.IGNORECASE)
_SECONDS = Seconds()
_IDENT = re.compile(r"[\w.-]+")


def show(config: Config) -> str:
    """The effective configuration as YAML with secrets masked."""
    return to_yaml(effective(config, comments=True))


def effective(config: Config, *, masked: bool = True, comments: bool = False) -> dict[str, Any]:
    """The effective configuration as plain values by YAML key. `comments` adds what no key can say."""
    secret = _masked if masked else _as_it_is
    values = section(config, Settings)
    del values["logRequests"]
    values["hooks"] = {"on_startup": {"preload": list(config.preload)}}
    values["apiKeys"] = [_api_key(key, secret) for key in config.api_keys]
    values["routing"] = _routing(config, comments=comments)
    values["models"] = {id: _model(model, secret, comments=comments) for id, model in config.models.items()}
    values["peers"] = {id: _peer(peer, secret) for id, peer in config.peers.items()}
    values["selectors"] = {id: section(selector) for id, selector in config.selectors.items()}
    values["profiles"] = {name: section(profile) for name, profile in config.profiles.items()}
    return values


def section(instance: Any, of: type[Any] | None = None) -> dict[str, Any]:
    """The keys of a section with plain values; keys without a value are left out."""
    return {
        name: plain(getattr(instance, attribute.name), declared.kind)
        for name, (attribute, declared) in keys_of(of or type(instance)).items()
        if getattr(instance, attribute.name) is not None
    }


def plain(value: Any, kind: Kind | None = None) -> Any:
    """A value of the configuration as dicts, lists and scalars."""
    if isinstance(kind, Duration):
        return f"{Decimal(repr(value)):f}s"
    if isinstance(value, (str, int, float)) or value is None:
        return int(value) if isinstance(value, float) and value.is_integer() and kind else value
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Regex):
        return value.text
    if isinstance(value, SleepStep):
        return _sleep_step(value)
    return section(value)


def _sleep_step(step: SleepStep) -> dict[str, Any]:
    if step.argv:
        return {"cmd": list(step.argv)}
    request: dict[str, Any] = {"method": step.method, "path": step.path}
    return request if step.body is None else {**request, "body": plain(step.body)}


def _masked(text: str) -> str:
    return MASK if text else ""


def _as_it_is(text: str) -> str:
    return text


Hide = Callable[[str], str]


def _api_key(key: ApiKey, hide: Hide) -> dict[str, Any]:
    source = {"key": hide(key.key)} if key.file is None else {"keyFile": str(key.file)}
    return {**source, "name": key.name, "models": list(key.models), "admin": key.admin}


def _peer(peer: Peer, hide: Hide) -> dict[str, Any]:
    return {**section(peer), "apiKey": hide(peer.api_key)}


def masked_environment(items: tuple[str, ...]) -> list[str]:
    """`NAME=value` items in which values of telling names are masked."""
    shown: list[str] = []
    for item in items:
        name, separator, value = item.partition("=")
        shown.append(f"{name}={MASK}" if separator and value and _SECRET_NAME.search(name) else item)
    return shown


def _model(model: ModelConfig, hide: Hide, *, comments: bool) -> dict[str, Any]:
    values = section(model)
    values.pop("macros", None)
    values.pop("healthCheckTimeout", None)
    values["health"].pop("timeout", None)
    if hide is _masked:
        values["env"] = masked_environment(model.env)
    values.update(
        {
            "sendLoadingState": model.send_loading_state,
            "maxWait": plain(model.max_wait_s, _SECONDS),
            "queueTimeout": plain(model.queue_timeout_s, _SECONDS),
            "health": {"timeout": plain(model.health_timeout_s, _SECONDS), **values["health"]},
        }
    )
    if comments:
        words = " ".join(map(_word, model.argv))
        port = "" if model.port is None else f"port {model.port}; "
        values["cmd"] = Commented(values["cmd"], f"{port}words: {words}")
    return {name: values[name] for name in keys_of(ModelKeys) if name in values}


def _word(word: str) -> str:
    """A word of a command as it would be typed into a shell, in one line whatever it holds."""
    return shlex.quote(word) if word.isprintable() else scalar_text(word)


def _routing(config: Config, *, comments: bool) -> dict[str, Any]:
    routing = config.routing
    settings: dict[str, Any] = {"memory": section(routing.memory, MemorySettings)}
    if routing.engine == "group":
        groups = {name: _group(group) for name, group in routing.groups.items() if name != DEFAULT_GROUP}
        rest = ", ".join(map(scalar_text, routing.groups[DEFAULT_GROUP].members)) or "empty"
        settings["groups"] = Commented(groups, f"{DEFAULT_GROUP}: {rest}") if comments else groups
    if routing.matrix is not None:
        settings["matrix"] = _matrix(routing.matrix)
    return {
        "router": {"use": routing.engine, "settings": settings},
        "scheduler": {
            "use": "fifo",
            "settings": {
                "fifo": {
                    "priority": dict(routing.priorities),
                    "maxWait": plain(routing.max_wait_s, _SECONDS),
                    "minLoaded": plain(routing.min_loaded_s, _SECONDS),
                }
            },
        },
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "members": list(group.members),
        "swap": group.swap,
        "exclusive": group.exclusive,
        "persistent": group.persistent,
    }


def _matrix(matrix: Matrix) -> dict[str, Any]:
    """The matrix with vars only for the models that cannot be written as they are."""
    used = dict.fromkeys(model for entry in matrix.sets for model in models(entry.expression))
    awkward = [model for model in used if not _IDENT.fullmatch(model)]
    names: dict[str, str] = {}
    for model in awkward:
        number = len(names) + 1
        while f"m{number}" in used or f"m{number}" in names.values():
            number += 1
        names[model] = f"m{number}"
    return {
        "vars": {name: model for model, name in names.items()},
        "evict_costs": dict(matrix.costs),
        "sets": {entry.name: expression_text(entry.expression, names) for entry in matrix.sets},
    }


def expression_text(expression: Expression, names: Mapping[str, str], *, inner: bool = False) -> str:
    """An expression in its own language, with the fewest parentheses; `names` gives vars for models."""
    if isinstance(expression, Model):
        return names.get(expression.id, expression.id)
    if isinstance(expression, Reference):
        return f"+{expression.set}"
    if isinstance(expression, AllOf):
        # An all-of right inside another was in parentheses; keeping them keeps the tree.
        text = " & ".join(_factor(part, names) for part in expression.parts)
        return f"({text})" if inner else text
    text = " | ".join(
        expression_text(part, names, inner=not isinstance(part, AllOf)) for part in expression.parts
    )
    return f"({text})" if inner else text


def _factor(part: Expression, names: Mapping[str, str]) -> str:
    return expression_text(part, names, inner=True)
