"""The root of the configuration: the keys as written, and the result of a load."""

# ruff: noqa: RUF009 - `key()` and the frozen sections it defaults to are immutable

from __future__ import annotations

from typing import Any as AnyType

from attrs import field, frozen

from swapd.config.declare import Section, key
from swapd.config.frozen import EMPTY, FrozenMap
from swapd.config.kinds import Any, ListOf, MapOf
from swapd.config.model import ModelConfig, ModelKeys
from swapd.config.names import ApiKey, ApiKeyItem, Peer, Profile, ProfileSection, Selector, WrittenApiKey
from swapd.config.routing import GROUPS, GroupKeys, MatrixKeys, Routing, RoutingKeys
from swapd.config.settings import Hooks, Settings


@frozen
class RootKeys(Settings):
    """All top-level keys as they are written."""

    models: FrozenMap[str, ModelKeys] = key("models", MapOf(Section(ModelKeys)), "The models.", default=EMPTY)
    macros: FrozenMap[str, AnyType] = key(
        "macros",
        MapOf(Any()),
        "Named values; `${name}` in any value stands for one.",
        default=EMPTY,
        example="{models: /srv/models}",
    )
    routing: RoutingKeys = key(
        "routing",
        Section(RoutingKeys),
        "Which models may run together, and who goes first.",
        default=RoutingKeys(),
    )
    groups: FrozenMap[str, GroupKeys] = key(
        "groups", GROUPS, "Older place of `routing.router.settings.groups`.", default=EMPTY
    )
    matrix: MatrixKeys | None = key(
        "matrix", Section(MatrixKeys), "Older place of `routing.router.settings.matrix`.", default=None
    )
    profiles: FrozenMap[str, Profile] = key(
        "profiles",
        MapOf(ProfileSection(Profile, null_gives=Profile())),
        "Sets of names to switch between.",
        default=EMPTY,
    )
    selectors: FrozenMap[str, Selector] = key(
        "selectors",
        MapOf(Section(Selector, null_gives=Selector())),
        "Names that choose between models.",
        default=EMPTY,
    )
    peers: FrozenMap[str, Peer] = key("peers", MapOf(Section(Peer)), "Other servers.", default=EMPTY)
    hooks: Hooks = key("hooks", Section(Hooks), "Things done at certain moments.", default=Hooks())
    api_keys: tuple[WrittenApiKey, ...] = key(
        "apiKeys",
        ListOf(ApiKeyItem()),
        "Keys that clients must send; without any there is no authentication.",
        default=(),
        repr=False,
        example='["${env.HOUSE_KEY}"]',
    )


@frozen
class Config(Settings):
    """A configuration in force: immutable, every default filled in, every name resolved.

    `models` is in byte order of the IDs. `names` maps every local name (model IDs, then aliases) to its
    model, `peer_names` every qualified and every unambiguous plain name of a peer's model to (peer, model).
    `preload` holds model IDs in the order to load them.
    """

    models: FrozenMap[str, ModelConfig] = EMPTY
    routing: Routing = Routing()
    profiles: FrozenMap[str, Profile] = EMPTY
    selectors: FrozenMap[str, Selector] = EMPTY
    peers: FrozenMap[str, Peer] = EMPTY
    preload: tuple[str, ...] = ()
    api_keys: tuple[ApiKey, ...] = field(default=(), repr=False)
    macros: FrozenMap[str, AnyType] = field(default=EMPTY, repr=False)
    names: FrozenMap[str, str] = field(default=EMPTY, repr=False)
    peer_names: FrozenMap[str, tuple[str, str]] = field(default=EMPTY, repr=False)

    def resolve(self, name: str) -> str | None:
        """The model that a model ID or alias stands for, else None."""
        return self.names.get(name)

    def resolve_peer(self, name: str) -> tuple[str, str] | None:
        """The (peer, model) that a qualified or unambiguous plain name stands for, else None."""
        return self.peer_names.get(name)
