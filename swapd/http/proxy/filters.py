"""Filters: what the configuration wants changed in JSON bodies on their way to a model or a peer.

The order is fixed: parameters are stripped, then set, then set for the name the client asked by; each in the
order of their keys, later ones winning. The model's name is nobody's parameter and is never touched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from swapd.config.model import PeerFilters
from swapd.http.errors import Rejected
from swapd.http.proxy.json_edit import (
    EditError,
    NotJson,
    Path,
    SetAside,
    delete_value,
    encode,
    set_value,
)


class _Setting(Struct, frozen=True):
    """One parameter to set, with its value as JSON."""

    key: str
    path: Path
    value: bytes


class Filters(Struct, frozen=True, eq=False):
    """The filters of one model or peer, ready to be applied."""

    strip: tuple[tuple[str, Path], ...]
    set: tuple[_Setting, ...]
    set_by_name: Mapping[str, tuple[_Setting, ...]]
    touched: frozenset[str]
    """The members of a document that any of them concerns."""

    @classmethod
    def compiled(cls, configured: PeerFilters) -> Filters | None:
        """None if there is nothing to do, which is the case for most models."""
        strip = tuple((key, Path.parse(key)) for key in configured.strip)
        stripped = tuple(item for item in strip if _is_allowed(item[1]))
        always = _settings(configured.set_params.items())
        by_name = {name: _settings(params.items()) for name, params in configured.set_params_by_id.items()}
        paths = [path for _, path in stripped]
        paths += [setting.path for settings in (always, *by_name.values()) for setting in settings]
        compiled = cls(stripped, always, by_name, frozenset(path.elements[0] for path in paths))
        return compiled if compiled.strip or compiled.set or compiled.set_by_name else None

    def applied(self, body: bytes, name: str) -> bytes:
        """The body as it is to be sent for a client that asked for `name`.

        Raises `Rejected` for an edit that cannot be made, and `NotJson` if the body is nothing to be edited.
        """
        settings = (*self.set, *self.set_by_name.get(name, ()))
        if not self.strip and not settings:
            return body
        document = SetAside.largest_of(body, self.touched)
        for key, path in self.strip:
            try:
                document.rest = delete_value(document.rest, path)
            except EditError:
                raise _failed(f"error stripping parameter {key} from request") from None
        for setting in settings:
            try:
                document.rest = set_value(document.rest, setting.path, setting.value)
            except EditError:
                raise _failed(f"error setting parameter {setting.key} in request") from None
        return document.whole()


class FilterTable:
    """The compiled filters of everything in the configuration, made when they are first needed.

    The mutable state is that memory, which lasts as long as the configuration object it was made from.
    """

    def __init__(self) -> None:
        self._source: object = None
        self._compiled: dict[int, Filters | None] = {}

    def of(self, configured: PeerFilters, source: object) -> Filters | None:
        """The filters `configured`, which belong to the configuration `source`."""
        if source is not self._source:
            self._source, self._compiled = source, {}
        key = id(configured)  # stands for it as long as `source`, which holds it, is held here
        if key not in self._compiled:
            self._compiled[key] = Filters.compiled(configured)
        return self._compiled[key]


def _settings(items: Iterable[tuple[str, Any]]) -> tuple[_Setting, ...]:
    settings = (_Setting(key, Path.parse(key), encode(value)) for key, value in sorted(items))
    return tuple(setting for setting in settings if _is_allowed(setting.path))


def _is_allowed(path: Path) -> bool:
    return path.elements[0] not in ("model", "")


def _failed(message: str) -> Rejected:
    return Rejected.with_code("internal_error", message)


__all__ = ["FilterTable", "Filters", "NotJson"]
