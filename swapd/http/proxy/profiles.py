"""Profiles: sets of names that stand for something else while their profile is active."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from swapd.config import Config

_NO_PINS: Mapping[str, str] = {}


class UnknownProfile(LookupError):
    """No profile of this name is configured."""


class Profiles:
    """Knows which profile is active: one or none, and none at the start.

    The mutable state is its name. `activate` changes it, and `apply` when a new configuration has no such
    profile any more; subscribers hear of both.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._active: str | None = None
        self._subscribers: list[Callable[[str | None], None]] = []

    @property
    def active(self) -> str | None:
        """The name of the active profile."""
        return self._active if self._active in self._config().profiles else None

    def pins(self, config: Config) -> Mapping[str, str]:
        """What stands for something else at the moment: requested name → target, "" for "nothing"."""
        if self._active is None:
            return _NO_PINS
        profile = config.profiles.get(self._active)
        return _NO_PINS if profile is None else profile.pins

    def activate(self, name: str | None) -> None:
        """Make a profile the active one, from the next request on. Raises `UnknownProfile`."""
        if name is not None and name not in self._config().profiles:
            raise UnknownProfile(name)
        self._set(name)

    def apply(self, config: Config) -> None:
        """Keep the active profile if `config`, which is coming into force, still has it."""
        if self._active is not None and self._active not in config.profiles:
            self._set(None)

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Call `callback` with the name whenever another profile becomes active; it must not block.

        Returns how to end that.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def _set(self, name: str | None) -> None:
        if name == self._active:
            return
        self._active = name
        for callback in tuple(self._subscribers):
            callback(name)
