"""Checks that need nothing but the entry itself (part of step 8)."""

from __future__ import annotations

from swapd.config.configuration import RootKeys
from swapd.config.locate import Places
from swapd.config.model_warnings import warn_filter_paths
from swapd.config.problems import quoted
from swapd.config.proxies import check_proxy


def check_entries(keys: RootKeys, places: Places) -> None:
    """Peers, profiles and detached models, each by itself."""
    for id, peer in keys.peers.items():
        if not peer.proxy:
            places.error(
                "peer-proxy",
                ("peers", id, "proxy"),
                f"the peer {quoted(id)} has no proxy",
                "set proxy to its base URL, e.g. http://192.168.1.20:8080",
            )
        else:
            check_proxy(places, ("peers", id, "proxy"), peer.proxy, f"peer {quoted(id)}")
        warn_filter_paths(places, ("peers", id, "filters"), peer.filters)
        if not peer.models:
            places.error(
                "peer-models",
                ("peers", id, "models"),
                f"the peer {quoted(id)} offers no models",
                "list the names of its models under models",
            )
    for name, profile in keys.profiles.items():
        if not profile.pins:
            places.error(
                "profile-empty",
                ("profiles", name, "pins"),
                f"the profile {quoted(name)} has no pins",
                "a profile needs at least one pin: name: target",
            )
        for pin in profile.pins:
            if not pin.strip():
                places.error(
                    "profile-name",
                    ("profiles", name, "pins", pin),
                    f"the profile {quoted(name)} has a pin with a blank name",
                    "name the request it is for",
                    key=True,
                )
        if not name.strip():
            places.error(
                "profile-name", ("profiles", name), "a profile has a blank name", "give it a name", key=True
            )
    for id, model in keys.models.items():
        if model.detached and not model.cmd_stop.strip():
            places.error(
                "type",
                ("models", id, "detached"),
                f"detached of model {quoted(id)} is true, but it has no cmdStop",
                "a detached server can only be stopped by a command: set cmdStop",
            )
