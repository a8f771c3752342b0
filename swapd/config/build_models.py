"""From the keys of models to models (steps 10 and 11 of a load)."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from typing import Any

from attrs import define, evolve, field, fields
from msgspec import Struct

from swapd.config import nodes
from swapd.config.commands import split
from swapd.config.configuration import RootKeys
from swapd.config.frozen import FrozenMap
from swapd.config.locate import Places
from swapd.config.model import (
    DEFAULT_CONCURRENCY,
    MIN_HEALTH_TIMEOUT_S,
    Fingerprint,
    ModelConfig,
    ModelKeys,
)
from swapd.config.model_warnings import ModelWarnings, warn_odd_name
from swapd.config.nodes import Scalar
from swapd.config.prepare import PreparedModel
from swapd.config.problems import KeyPath, listed, quoted
from swapd.config.proxies import check_proxy, clamped_timeouts
from swapd.config.scalars import text_of

COMFYUI = "comfyui_auto"
COMFYUI_CONCURRENCY = 50
MODALITIES = ("text", "audio", "image")
DERIVED_METADATA = frozenset({"architecture", "capabilities", "supported_parameters", "context_length"})
_PORT_MARK = "\x00PORT\x00"  # stands for the port while a command is split, as no quoting rule touches it


class BuiltModels(Struct, frozen=True):
    """The models in byte order of their IDs, and every local name with its model."""

    models: FrozenMap[str, ModelConfig]
    names: FrozenMap[str, str]


def build_models(keys: RootKeys, prepared: MappingABC[str, PreparedModel], places: Places) -> BuiltModels:
    """Run both steps; when one finds errors the result is only fit to be thrown away."""
    builder = _Builder(keys, prepared, places)
    places.log.step = 10
    builder.collect_aliases()
    if not places.log.failed():
        places.log.step = 11
        builder.build()
    names = {id: id for id in builder.models}
    for alias, id in builder.aliases.items():
        names.setdefault(alias, id)
    return BuiltModels(FrozenMap(builder.models), FrozenMap(names))


@define(eq=False)
class _Builder:
    """`aliases` maps every alias known so far to its model; explicit ones come first."""

    keys: RootKeys
    prepared: MappingABC[str, PreparedModel]
    places: Places
    models: dict[str, ModelConfig] = field(factory=dict)
    aliases: dict[str, str] = field(factory=dict)

    def collect_aliases(self) -> None:
        for id, model in sorted(self.keys.models.items()):
            warn_odd_name(self.places, id, "model ID", ("models", id), key=True)
            for index, alias in enumerate(model.aliases):
                path = ("models", id, "aliases", index)
                owner = self.aliases.setdefault(alias, id)
                if owner != id or alias in model.aliases[:index]:
                    self._refuse_alias(alias, owner, id, path)
                    continue
                warn_odd_name(self.places, alias, "alias", path)
                if alias in self.keys.models:
                    self.places.warning(
                        "alias-shadowed",
                        path,
                        f"the alias {quoted(alias)} of model {quoted(id)} is also a model ID, which wins",
                        "remove the alias",
                    )

    def _refuse_alias(self, alias: str, owner: str, id: str, path: KeyPath) -> None:
        twice = f"{quoted(alias)} is listed twice as an alias of model {quoted(id)}"
        both = f"{quoted(alias)} is an alias of models {quoted(owner)} and {quoted(id)}"
        self.places.error(
            "alias-dup",
            path,
            twice if owner == id else both,
            "an alias must be unique in the whole configuration",
        )

    def build(self) -> None:
        # All automatic aliases first: a name is taken or not regardless of what else is wrong.
        automatic = {id: self._automatic_aliases(id, model) for id, model in sorted(self.keys.models.items())}
        for id, added in automatic.items():
            self.models[id] = self._model(id, self.keys.models[id], added)

    def _automatic_aliases(self, id: str, model: ModelKeys) -> tuple[str, ...]:
        added: list[str] = []
        for name in sorted(model.filters.set_params_by_id):
            if name == id:
                continue
            path = ("models", id, "filters", "setParamsByID", name)
            owner = self.aliases.get(name)
            if name in self.keys.models:
                self.places.error(
                    "alias-clash",
                    path,
                    f"{quoted(name)} would become an alias of model {quoted(id)}, but it is the ID of model "
                    f"{quoted(name)}",
                    "names under setParamsByID become aliases; choose one that is not a model ID",
                    key=True,
                )
            elif owner is None:
                self.aliases[name] = id
                added.append(name)
            elif owner != id:
                self.places.error(
                    "alias-dup",
                    path,
                    f"{quoted(name)} would become an alias of model {quoted(id)}, but is one of "
                    f"model {quoted(owner)}",
                    "names under setParamsByID become aliases; choose another",
                    key=True,
                )
        return tuple(added)

    def _model(self, id: str, written: ModelKeys, automatic: tuple[str, ...]) -> ModelConfig:
        self._check_capabilities(id, written)
        check_proxy(self.places, ("models", id, "proxy"), written.proxy, f"model {quoted(id)}")
        warnings = ModelWarnings(self.places, id)
        argv = warnings.words(written.cmd, "cmd")
        stop_argv = warnings.words(written.cmd_stop, "cmdStop")
        warnings.check(written, argv)
        prepared = self.prepared.get(id)
        values: dict[str, Any] = {
            attribute.name: getattr(written, attribute.name) for attribute in fields(ModelKeys)
        }
        values.update(
            id=id,
            argv=argv,
            stop_argv=stop_argv,
            port=None if prepared is None else prepared.port,
            aliases=written.aliases + automatic,
            timeouts=clamped_timeouts(self.places, ("models", id), written.timeouts),
            health_timeout_s=self._health_timeout(id, written),
            metadata=_metadata(written),
            fingerprint=_fingerprint(written, argv, prepared),
        )
        values.update(self._with_globals(written))
        if id == COMFYUI:
            values["concurrency_limit"] = max(values["concurrency_limit"], COMFYUI_CONCURRENCY)
            values["compat"] = evolve(written.compat, ignore_websockets=True)
        return ModelConfig(**values)

    def _with_globals(self, written: ModelKeys) -> dict[str, Any]:
        """The values that fall back to global ones."""
        keys = self.keys
        fifo = keys.routing.scheduler.settings.fifo
        loading = written.sending_loading_state
        return {
            "ttl_s": keys.global_ttl_s if written.ttl_s == -1 else written.ttl_s,
            "unload_timeout_s": written.unload_timeout_s or keys.unload_timeout_s,
            "concurrency_limit": written.concurrency_limit
            if written.concurrency_limit > 0
            else DEFAULT_CONCURRENCY,
            "send_loading_state": keys.send_loading_state if loading is None else loading,
            "max_wait_s": fifo.max_wait_s if written.max_wait is None else written.max_wait,
            "queue_timeout_s": keys.queue_timeout_s
            if written.queue_timeout is None
            else written.queue_timeout,
        }

    def _health_timeout(self, id: str, written: ModelKeys) -> float:
        timeout = written.health.timeout_s
        if timeout is None:
            return float(self.keys.health_check_timeout_s)
        if timeout >= MIN_HEALTH_TIMEOUT_S:
            return timeout
        self.places.warning(
            "clamped",
            ("models", id, "health", "timeout"),
            f"health.timeout is {timeout:g} and is raised to {MIN_HEALTH_TIMEOUT_S}",
            f"write {MIN_HEALTH_TIMEOUT_S} or more",
        )
        return float(MIN_HEALTH_TIMEOUT_S)

    def _check_capabilities(self, id: str, written: ModelKeys) -> None:
        capabilities = written.capabilities
        for name, words in (("in", capabilities.inputs), ("out", capabilities.outputs)):
            for index, word in enumerate(words):
                if word not in MODALITIES:
                    self.places.error(
                        "capability",
                        ("models", id, "capabilities", name, index),
                        f"{quoted(word)} is not something model {quoted(id)} can take or give",
                        f"permitted: {listed(MODALITIES)}",
                    )
        if capabilities.context < 0:
            self.places.error(
                "capability",
                ("models", id, "capabilities", "context"),
                f"the context of model {quoted(id)} is {capabilities.context}",
                "permitted: 0 and above",
            )


def _metadata(written: ModelKeys) -> FrozenMap[str, Any]:
    if not written.capabilities.stated or DERIVED_METADATA.isdisjoint(written.metadata):
        return written.metadata
    return FrozenMap(
        {name: value for name, value in written.metadata.items() if name not in DERIVED_METADATA}
    )


def _fingerprint(written: ModelKeys, argv: tuple[str, ...], prepared: PreparedModel | None) -> Fingerprint:
    launch = None if prepared is None else prepared.launch
    if launch is None:
        return Fingerprint(argv, written.env, written.proxy, written.detached)
    cmd = _text(launch.get("cmd")).replace("${PORT}", _PORT_MARK)
    symbolic = tuple(word.replace(_PORT_MARK, "${PORT}") for word in split(cmd))
    env = launch.get("env")
    env_items = env.items if isinstance(env, nodes.Sequence) else []
    return Fingerprint(
        symbolic,
        tuple(_text(item) for item in env_items if not nodes.is_null(item)),
        _text(launch.get("proxy")),
        written.detached,
    )


def _text(node: nodes.Node | None) -> str:
    return text_of(node.value) if isinstance(node, Scalar) else ""
