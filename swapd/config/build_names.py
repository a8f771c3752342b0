"""Preload, keys and peers (steps 14 to 16)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve

from swapd.config.configuration import RootKeys
from swapd.config.frozen import FrozenMap
from swapd.config.locate import Places
from swapd.config.names import ApiKey, Peer, WrittenApiKey
from swapd.config.problems import KeyPath, quoted
from swapd.config.proxies import clamped_timeouts

_MAX_KEY_FILE = 64 * 1024

PeerNames = FrozenMap[str, tuple[str, str]]


def build_preload(keys: RootKeys, names: Mapping[str, str], places: Places) -> tuple[str, ...]:
    """The models to load after the start, in order; repeats are kept."""
    kept: list[str] = []
    for index, name in enumerate(keys.hooks.on_startup.preload):
        model = names.get(name)
        if model is not None:
            kept.append(model)
            continue
        from swapd.config.suggest import did_you_mean

        places.warning(
            "preload-unknown",
            ("hooks", "on_startup", "preload", index),
            f"{quoted(name)} is not a model and is not preloaded",
            did_you_mean(name, names) or "only models of this configuration can be preloaded",
        )
    return tuple(kept)


def build_api_keys(keys: RootKeys, places: Places) -> tuple[ApiKey, ...]:
    """The keys in force; no message ever shows one."""
    built = (_api_key(written, position, places) for position, written in enumerate(keys.api_keys))
    return tuple(key for key in built if key is not None)


def _api_key(written: WrittenApiKey, position: int, places: Places) -> ApiKey | None:
    path: KeyPath = ("apiKeys", position)
    if written.plain is not None:
        fine = _check_key(written.plain, written.index, path, places)
        return ApiKey(written.plain, str(written.index)) if fine else None
    assert written.keys is not None
    details = written.keys
    name = details.name or str(written.index)
    if not details.key_file:
        fine = _check_key(details.secret, written.index, (*path, "key"), places)
        return ApiKey(details.secret, name, details.models, details.admin) if fine else None
    path = (*path, "keyFile")
    secret = _read_key_file(details.key_file, written.index, path, places)
    if secret is None or not _check_key(secret, written.index, path, places):
        return None
    return ApiKey(secret, name, details.models, details.admin, Path(details.key_file))


def _check_key(key: str, index: int, path: KeyPath, places: Places) -> bool:
    if not key:
        places.error(
            "api-key-empty",
            path,
            f"apiKeys[{index}] is empty",
            "remove it, or write a key that is hard to guess",
        )
        return False
    if " " in key:
        places.error(
            "api-key-space",
            path,
            f"apiKeys[{index}] holds a blank",
            "clients cannot send a key with blanks; choose another",
        )
        return False
    if any(character.isspace() or not character.isprintable() for character in key):
        places.warning(
            "odd-name",
            path,
            f"apiKeys[{index}] holds a tab or another invisible character",
            "many clients cannot send such a key",
        )
    return True


def _read_key_file(name: str, index: int, path: KeyPath, places: Places) -> str | None:
    reason = "it is empty"
    try:
        with Path(name).open("rb") as file:
            key = file.read(_MAX_KEY_FILE).decode().strip()
        if key:
            return key
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except ValueError:
        reason = "it is not UTF-8 text"
    places.error(
        "api-key-file",
        path,
        f"the key file {quoted(name, limit=500)} of apiKeys[{index}] cannot be used: {reason}",
        "name a file that holds the key alone and that the daemon may read",
    )
    return None


def build_peers(
    keys: RootKeys, names: Mapping[str, str], places: Places
) -> tuple[FrozenMap[str, Peer], PeerNames]:
    """The peers, and the names their models can be asked for by."""
    peers: dict[str, Peer] = {}
    qualified: dict[str, tuple[str, str]] = {}
    offering: dict[str, list[tuple[str, str]]] = {}
    for id, written in keys.peers.items():
        models = tuple(dict.fromkeys(written.models))
        timeouts = clamped_timeouts(places, ("peers", id), written.timeouts)
        peers[id] = evolve(written, models=models, timeouts=timeouts)
        for model in models:
            fqn = f"{id}/{model}"
            other = qualified.setdefault(fqn, (id, model))
            if other != (id, model):
                places.error(
                    "peer-ambiguous",
                    ("peers", id, "models"),
                    f"{quoted(fqn)} is the model {quoted(model)} of the peer {quoted(id)} and the model "
                    f"{quoted(other[1])} of the peer {quoted(other[0])}",
                    "rename one of the peers",
                )
            offering.setdefault(model, []).append((id, model))
    _check_reserved(keys, names, qualified, places)
    plain = {model: owners[0] for model, owners in offering.items() if len(owners) == 1}
    return FrozenMap(peers), FrozenMap({**plain, **qualified})


def _check_reserved(
    keys: RootKeys, names: Mapping[str, str], qualified: Mapping[str, tuple[str, str]], places: Places
) -> None:
    """A qualified name of a peer's model may not mean anything else."""
    if not qualified:
        return
    for id in sorted(keys.models):
        _refuse_reserved(id, f"the model {quoted(id)}", ("models", id), qualified, places, key=True)
        for index, alias in enumerate(keys.models[id].aliases):
            what = f"an alias of the model {quoted(id)}"
            _refuse_reserved(alias, what, ("models", id, "aliases", index), qualified, places)
        for name in keys.models[id].filters.set_params_by_id:
            path = ("models", id, "filters", "setParamsByID", name)
            if name != id:
                _refuse_reserved(
                    name, f"an alias of the model {quoted(id)}", path, qualified, places, key=True
                )
    for id in keys.selectors:
        _refuse_reserved(id, f"the selector {quoted(id)}", ("selectors", id), qualified, places, key=True)
    for name, profile in keys.profiles.items():
        for pin in profile.pins:
            what = f"a pin of the profile {quoted(name)}"
            _refuse_reserved(pin, what, ("profiles", name, "pins", pin), qualified, places, key=True)


def _refuse_reserved(
    name: str,
    what: str,
    path: KeyPath,
    qualified: Mapping[str, tuple[str, str]],
    places: Places,
    *,
    key: bool = False,
) -> None:
    if name in qualified:
        peer, model = qualified[name]
        places.error(
            "peer-reserved",
            path,
            f"{quoted(name)} is {what}, but also the model {quoted(model)} of the peer {quoted(peer)}",
            "names of the form peer/model belong to the peers; choose another",
            key=key,
        )
