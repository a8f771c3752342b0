"""Selectors and profiles (steps 17 and 18)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from swapd.config.coexist import can_coexist
from swapd.config.configuration import RootKeys
from swapd.config.frozen import FrozenMap
from swapd.config.locate import Places
from swapd.config.model import ModelConfig
from swapd.config.model_warnings import warn_odd_name
from swapd.config.names import Profile, Selector
from swapd.config.problems import KeyPath, listed, quoted
from swapd.config.routing import Routing

STRATEGIES = ("warm", "pin", "spillover")


@define(eq=False)
class NameTable:
    """What requested names can lead to: models, peers' models, selectors."""

    names: Mapping[str, str]
    peer_names: Mapping[str, tuple[str, str]]
    selectors: Mapping[str, Selector]

    def target(self, name: str) -> str | None:
        """The model ID or qualified peer model that a selector's target leads to."""
        model = self.names.get(name)
        if model is not None:
            return model
        peer = self.peer_names.get(name)
        return None if peer is None else "/".join(peer)

    def known(self) -> list[str]:
        return [*self.names, *self.peer_names, *self.selectors]

    def why_unknown(self, name: str, peers: Mapping[str, tuple[str, ...]]) -> str:
        """A hint for a name that leads nowhere."""
        offering = [peer for peer, models in peers.items() if name in models]
        if len(offering) > 1:
            return f"several peers offer it; write {listed(quoted(f'{peer}/{name}') for peer in offering)}"
        from swapd.config.suggest import did_you_mean

        return did_you_mean(name, self.known()) or "it must be a model, an alias or a model of a peer"


@define(eq=False)
class SelectorBuilder:
    """Checks selectors and resolves their targets."""

    keys: RootKeys
    table: NameTable
    models: Mapping[str, ModelConfig]
    routing: Routing
    places: Places
    built: dict[str, Selector] = field(factory=dict)

    def build(self) -> FrozenMap[str, Selector]:
        for id, selector in self.keys.selectors.items():
            self._check_id(id)
            self._check_strategy(id, selector)
            self.built[id] = evolve(selector, resolved=self._resolve(id, selector))
        return FrozenMap(self.built)

    def _check_id(self, id: str) -> None:
        path = ("selectors", id)
        if not id.strip():
            self.places.error(
                "selector-name", path, "a selector has a blank name", "give it a name", key=True
            )
            return
        warn_odd_name(self.places, id, "selector name", path, key=True)
        model = self.table.names.get(id)
        if model is not None:
            what = "a model" if model == id else f"an alias of the model {quoted(model)}"
            self.places.error(
                "selector-clash",
                path,
                f"{quoted(id)} is a selector and {what}",
                "choose another name for the selector",
                key=True,
            )

    def _check_strategy(self, id: str, selector: Selector) -> None:
        if selector.strategy not in STRATEGIES:
            shown = f"the strategy {quoted(selector.strategy)}" if selector.strategy else "no strategy"
            self.places.error(
                "selector-strategy",
                ("selectors", id, "strategy"),
                f"the selector {quoted(id)} has {shown}",
                f"permitted: {listed(STRATEGIES)}",
            )
        if not selector.targets:
            self.places.error(
                "selector-targets",
                ("selectors", id, "targets"),
                f"the selector {quoted(id)} has no targets",
                "list the models it chooses from under targets",
            )
        spillover = selector.settings.spillover
        if selector.strategy == "spillover" and spillover < 1:
            self.places.error(
                "selector-spillover",
                ("selectors", id, "settings", "spillover"),
                f"spillover of the selector {quoted(id)} is {spillover}",
                "permitted: 1 and above",
            )

    def _resolve(self, id: str, selector: Selector) -> tuple[str, ...]:
        resolved: list[str] = []
        for index, target in enumerate(selector.targets):
            name = self._resolve_target(id, selector, index, target)
            if name is not None and self._is_new(id, selector, index, name, resolved):
                resolved.append(name)
        if selector.strategy == "spillover" and len(resolved) == len(selector.targets):
            self._check_coexistence(id, resolved)
        return tuple(resolved)

    def _resolve_target(self, id: str, selector: Selector, index: int, target: str) -> str | None:
        path: KeyPath = ("selectors", id, "targets", index)
        name = self.table.target(target)
        if name is None and target in self.keys.selectors:
            self.places.error(
                "selector-chain",
                path,
                f"target {index} of the selector {quoted(id)}, {quoted(target)}, is a selector",
                "name its targets instead",
            )
            return None
        if name is None:
            peers = {peer: written.models for peer, written in self.keys.peers.items()}
            self.places.error(
                "selector-target-unknown",
                path,
                f"target {index} of the selector {quoted(id)}, {quoted(target)}, is not known",
                self.table.why_unknown(target, peers),
            )
        elif selector.strategy == "warm" and name not in self.models:
            self.places.error(
                "selector-local",
                path,
                f"target {index} of the selector {quoted(id)}, {quoted(target)}, is a model of a peer",
                "warm looks at the state of a model, which is known of local ones only; use pin or spillover",
            )
        return name

    def _is_new(self, id: str, selector: Selector, index: int, name: str, resolved: list[str]) -> bool:
        if selector.strategy != "spillover" or name not in resolved:
            return True
        self.places.error(
            "selector-dup",
            ("selectors", id, "targets", index),
            f"target {index} of the selector {quoted(id)} is {quoted(name)} again",
            "with the strategy spillover every target must be another model",
        )
        return False

    def _check_coexistence(self, id: str, resolved: list[str]) -> None:
        local = [name for name in resolved if name in self.models]
        if len(local) > 1 and not can_coexist(local, self.routing, self.models):
            where = {
                "group": "put them in one group with swap: false",
                "matrix": "let one set of the matrix hold them all",
                "memory": "their memory together exceeds a budget",
            }
            self.places.error(
                "selector-coexist",
                ("selectors", id, "targets"),
                f"the targets {listed(map(quoted, local), 'and')} of the selector {quoted(id)} cannot run "
                "together",
                where[self.routing.engine],
            )


def check_profiles(keys: RootKeys, table: NameTable, places: Places) -> FrozenMap[str, Profile]:
    """Every pin must lead somewhere."""
    known = {*table.names, *table.peer_names, *table.selectors}
    peers = {peer: written.models for peer, written in keys.peers.items()}
    for name, profile in keys.profiles.items():
        for pin, target in profile.pins.items():
            if not target or target in known:
                continue
            hint = table.why_unknown(target, peers)
            if target in profile.pins:
                hint = "pins do not chain: name what that pin stands for"
            places.error(
                "profile-target",
                ("profiles", name, "pins", pin),
                f"the pin {quoted(pin)} of the profile {quoted(name)} stands for {quoted(target)}, which is "
                "not known",
                hint,
            )
    return keys.profiles
