"""Checks shared by models and peers: base URLs and timeouts."""

from __future__ import annotations

from typing import TypeVar

from attrs import evolve

from swapd.config.declare import keys_of
from swapd.config.locate import Places
from swapd.config.model import Timeouts
from swapd.config.problems import KeyPath, quoted
from swapd.config.urls import url_error, url_oddity

AnyTimeouts = TypeVar("AnyTimeouts", bound=Timeouts)


def check_proxy(places: Places, path: KeyPath, url: str, owner: str) -> None:
    """Refuse a base URL that cannot be parsed, warn of one that cannot work."""
    error = url_error(url)
    if error:
        guess = f"http://{url}"
        better = (
            "" if "://" in url or url_error(guess) or any(url_oddity(guess)) else f"did you mean {guess}?"
        )
        places.error(
            "proxy-url",
            path,
            f"the proxy {quoted(url)} of {owner} is not a URL: {error}",
            better or "write it as http://host:port",
        )
        return
    oddity, better = url_oddity(url)
    if oddity:
        places.warning(
            "proxy-odd",
            path,
            f"the proxy {quoted(url)} of {owner} cannot be reached: {oddity}",
            f"did you mean {better}?" if better else "write it as http://host:port",
        )


def clamped_timeouts(places: Places, path: KeyPath, timeouts: AnyTimeouts) -> AnyTimeouts:
    """The timeouts with negative values raised to 0, which is "no limit"."""
    changes: dict[str, int] = {}
    for name, (attribute, _) in keys_of(type(timeouts)).items():
        value: int = getattr(timeouts, attribute.name)
        if value < 0:
            places.warning(
                "clamped",
                (*path, "timeouts", name),
                f"the timeout {name} is {value} and acts as 0, no limit",
                "write 0 or more",
            )
            changes[attribute.name] = 0
    return evolve(timeouts, **changes) if changes else timeouts
