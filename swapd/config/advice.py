"""What `swapd check` can say beyond the rules: things that load, but hardly do what is wanted.

Some of it depends on this machine (programs, files), so it never makes a check fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from swapd.config.coexist import may_overlap, stays
from swapd.config.configuration import Config
from swapd.config.expressions import models as models_in
from swapd.config.locate import Places
from swapd.config.model import ModelConfig
from swapd.config.problems import KeyPath, listed, quoted

_FILE_FLAGS = frozenset({"-m", "--model", "-mm", "--mmproj", "-md", "--model-draft", "--lora"})
_MODEL_SUFFIXES = (".gguf", ".safetensors")
_CONTAINERS = frozenset({"docker", "podman", "nerdctl", "apptainer", "ssh"})
_MANY = 50  # of those at one address that are looked at in pairs
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})


class Advice(Struct, frozen=True):
    """One remark, at a key path."""

    code: str
    path: KeyPath
    message: str
    hint: str = ""


def advise(config: Config, environ: Mapping[str, str], places: Places) -> None:
    """Add the remarks about a configuration to the log of `places`."""
    for advice in (
        *_machine(config, environ),
        *_short_ttls(config),
        *_proxies(config),
        *_routing(config, places),
        *_names(config),
    ):
        places.advice(advice.code, advice.path, advice.message, advice.hint)


def _machine(config: Config, environ: Mapping[str, str]) -> Iterator[Advice]:
    for id, model in config.models.items():
        if not model.argv:
            continue
        program = model.argv[0]
        if shutil.which(program, path=environ.get("PATH", os.defpath)) is None:
            yield Advice(
                "program-missing",
                ("models", id, "cmd"),
                f"the program {quoted(program)} of model {quoted(id)} is not found on this machine",
                "install it, or write its full path",
            )
        if Path(program).name not in _CONTAINERS:
            yield from _missing_files(id, model)


def _missing_files(id: str, model: ModelConfig) -> Iterator[Advice]:
    for flag, word in zip(("", *model.argv), model.argv, strict=False):
        if flag not in _FILE_FLAGS and not word.endswith(_MODEL_SUFFIXES):
            continue
        file = word.partition("=")[2] if word.startswith("-") else word
        # A name such as org/model is no path: servers that take it look it up in a model hub.
        is_path = file.startswith(("/", ".")) or file.endswith(_MODEL_SUFFIXES)
        if is_path and not Path(file).exists():
            yield Advice(
                "file-missing",
                ("models", id, "cmd"),
                f"the file {quoted(file, limit=500)} of model {quoted(id)} does not exist on this machine",
            )


def _short_ttls(config: Config) -> Iterator[Advice]:
    """Models that are unloaded sooner than they load, as far as past loads are on record."""
    if config.store is None or not Path(config.store.path.strip()).is_file():
        return
    import sqlite3

    uri = Path(config.store.path.strip()).absolute().as_uri() + "?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True)
        try:
            rows = connection.execute(
                "SELECT model, AVG(load_ms) FROM model_run WHERE load_ms > 0 GROUP BY model"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return  # a store of another version, or none at all: there is nothing to say
    for id, load_ms in rows:
        model = config.models.get(id)
        if model is not None and 0 < model.ttl_s < load_ms / 1000:
            yield Advice(
                "ttl-short",
                ("models", id, "ttl"),
                f"model {quoted(id)} is unloaded after {model.ttl_s} s, but loads for {load_ms / 1000:.0f} s",
                "a longer ttl saves more than it costs",
            )


def _proxies(config: Config) -> Iterator[Advice]:
    at: dict[str, list[str]] = {}
    for id, model in config.models.items():
        parts = urlsplit(model.proxy)
        try:
            port = parts.port
        except ValueError:
            continue
        is_local = parts.hostname in _LOCAL_HOSTS
        at.setdefault(f"{'localhost' if is_local else parts.hostname}:{port}", []).append(id)
        if model.port is not None and is_local and port != model.port:
            yield Advice(
                "proxy-port",
                ("models", id, "proxy"),
                f"cmd of model {quoted(id)} uses ${{PORT}}, but its proxy is at port {port or 80}",
                "write ${PORT} in proxy, or remove proxy",
            )
    for address, ids in at.items():
        for one, other in combinations(ids[:_MANY], 2):
            if may_overlap(one, other, config.routing, config.models):
                yield Advice(
                    "proxy-shared",
                    ("models", other, "proxy"),
                    f"the models {quoted(one)} and {quoted(other)} may run together, both at {address}",
                    "give each a port of its own, e.g. with ${PORT}",
                )


def _routing(config: Config, places: Places) -> Iterator[Advice]:
    routing = config.routing
    groups: KeyPath = ("routing", "router", "settings", "groups")
    if places.is_given("groups"):
        groups = ("groups",)  # the older place; both at once are refused
    for name, group in routing.groups.items():
        if len(group.members) == 1 and name != "(default)" and group.exclusive and not group.persistent:
            yield Advice(
                "group-single",
                (*groups, name),
                f"the group {quoted(name)} has one member, which acts as if it were in no group",
                "add members, or remove the group",
            )
    if routing.matrix is not None:
        used = dict.fromkeys(id for entry in routing.matrix.sets for id in models_in(entry.expression))
        for id in used:
            if not config.models[id].argv:
                yield Advice(
                    "matrix-unstartable",
                    ("models", id),
                    f"model {quoted(id)} is in the matrix, but has no command and cannot start",
                    "set cmd",
                )
    preload = list(dict.fromkeys(config.preload))
    if len(preload) > 1 and routing.engine != "memory":
        clashing = [
            (one, other)
            for one, other in combinations(preload, 2)
            if not stays(one, other, routing, config.models)
        ]
        if clashing:
            one, other = clashing[0]
            yield Advice(
                "preload-evicts",
                ("hooks", "on_startup", "preload"),
                f"preloading {quoted(other)} stops {quoted(one)} again, as they cannot run together",
                "preload one of them, or let them run together under routing",
            )


def _names(config: Config) -> Iterator[Advice]:
    for id in config.selectors:
        peer = config.resolve_peer(id)
        if peer is not None:
            yield Advice(
                "selector-hides",
                ("selectors", id),
                f"the selector {quoted(id)} hides the model of that name of the peer {quoted(peer[0])}",
                f"that model is still reached as {listed([quoted('/'.join(peer))])}",
            )
