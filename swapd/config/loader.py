"""Loading a configuration: the steps in order.

Errors of an earlier step hide those of later ones, because what follows from a wrong premise only misleads;
within a step everything that can be found is reported together.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from types import MappingProxyType

from attrs import field, frozen
from msgspec import Struct

from swapd.config import nodes
from swapd.config.build_models import build_models
from swapd.config.build_names import build_api_keys, build_peers, build_preload
from swapd.config.build_routing import build_routing
from swapd.config.build_selectors import NameTable, SelectorBuilder, check_profiles
from swapd.config.build_settings import passed_through, settle
from swapd.config.configuration import Config, RootKeys
from swapd.config.declare import keys_of, load_keys
from swapd.config.entry_checks import check_entries
from swapd.config.environment import substitute, warn_escaped
from swapd.config.frozen import FrozenMap
from swapd.config.locate import Places
from swapd.config.merging import merge_all
from swapd.config.ports import PortsBefore
from swapd.config.prepare import Prepared, prepare
from swapd.config.problems import Problem, ProblemLog
from swapd.config.reading import ReadFile, parse_root, read_source, source_paths
from swapd.config.secrets import mark_secrets
from swapd.config.sources import Sources, SourceText

_NO_PORTS: Mapping[str, int] = MappingProxyType({})
_NO_PORTS_BEFORE = PortsBefore()


@frozen
class Loaded:
    """The outcome of a load: a configuration, or None when a problem is an error.

    `files` are the files that were read, in order, with the digests of their contents.
    """

    config: Config | None
    problems: tuple[Problem, ...]
    files: tuple[ReadFile, ...] = field(default=())

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.is_error)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.is_error)


def load(
    sources: Sources,
    *,
    environ: Mapping[str, str] = os.environ,
    sticky_ports: Mapping[str, int] = _NO_PORTS,
    busy_ports: Collection[int] = (),
) -> Loaded:
    """Load the files of `sources`. Bad input never raises; it makes problems.

    `environ` supplies the values of `${env.NAME}`. For a reload, `sticky_ports` are the ports assigned so far
    by model ID, which models keep, and `busy_ports` those that processes use, which no other model gets.
    """
    return load_document(sources, environ=environ, ports=PortsBefore(sticky_ports, frozenset(busy_ports)))[0]


def load_document(
    sources: Sources, *, environ: Mapping[str, str], ports: PortsBefore = _NO_PORTS_BEFORE
) -> tuple[Loaded, Places | None]:
    """As `load`, with the document the configuration was made of, to look up more places in it."""
    log = ProblemLog()
    paths = source_paths(sources, log)
    roots: list[nodes.Mapping] = []
    read: list[ReadFile] = []
    if not log.failed():
        for path in paths:
            result = read_source(path, environ, log)
            if result is not None:
                read.append(result.file)
                if result.root is not None:
                    roots.append(result.root)
    config, places = (None, None) if log.failed() else _build(roots, ports, log)
    return Loaded(config, log.result(), tuple(read)), places


def loads(
    text: str,
    *,
    environ: Mapping[str, str] = os.environ,
    sticky_ports: Mapping[str, int] = _NO_PORTS,
    busy_ports: Collection[int] = (),
    name: str = "<text>",
) -> Loaded:
    """Load a single document from a string; `name` stands for the file in messages."""
    log = ProblemLog()
    source = substitute(name, text, None, environ, log)
    root = parse_root(source, log)
    ports = PortsBefore(sticky_ports, frozenset(busy_ports))
    config = None if log.failed() else _build([] if root is None else [root], ports, log)[0]
    return Loaded(config, log.result())


def _build(
    roots: list[nodes.Mapping], ports: PortsBefore, log: ProblemLog
) -> tuple[Config | None, Places | None]:
    root = merge_all(roots, log)
    if log.failed():
        return None, None
    if root is None:
        source = log.sources[0] if log.sources else SourceText("<nothing>", "", "")
        root = nodes.Mapping(source, 0, 0, {})
    mark_secrets(root, log)
    warn_escaped(root, log)
    prepared = prepare(root, keys_of(RootKeys), ports, log)
    if prepared is None:
        return None, None
    places = Places(prepared.root, log)
    keys = _typed(places, log)
    return None if keys is None else _Assembly(keys, prepared, places, log).run(), places


def _typed(places: Places, log: ProblemLog) -> RootKeys | None:
    """Steps 8 and 9: types, defaults, checks within one entry, settings."""
    log.step = 8
    keys = RootKeys(**load_keys(RootKeys, places.root, (), log))
    if log.failed():
        return None
    check_entries(keys, places)
    if log.failed():
        return None
    log.step = 9
    keys = settle(keys, places)
    return None if log.failed() else keys


class _Assembly(Struct, frozen=True, eq=False):
    """Steps 10 to 18: everything that relates several entries to each other."""

    keys: RootKeys
    prepared: Prepared
    places: Places
    log: ProblemLog

    def run(self) -> Config | None:
        keys, places, log = self.keys, self.places, self.log
        built = build_models(keys, self.prepared.models, places)
        if log.failed():
            return None
        routing = build_routing(keys, built.names, places)
        if log.failed():
            return None
        log.step = 14
        preload = build_preload(keys, built.names, places)
        log.step = 15
        api_keys = build_api_keys(keys, places)
        if log.failed():
            return None
        log.step = 16
        peers, peer_names = build_peers(keys, built.names, places)
        if log.failed():
            return None
        log.step = 17
        table = NameTable(built.names, peer_names, keys.selectors)
        selectors = SelectorBuilder(keys, table, built.models, routing, places).build()
        if log.failed():
            return None
        log.step = 18
        profiles = check_profiles(keys, table, places)
        if log.failed():
            return None
        return Config(
            **passed_through(keys),
            models=built.models,
            routing=routing,
            profiles=profiles,
            selectors=selectors,
            peers=peers,
            preload=preload,
            api_keys=api_keys,
            macros=FrozenMap({name: macro.value for name, macro in self.prepared.macros.items()}),
            names=built.names,
            peer_names=peer_names,
        )
