"""Immutable, hashable counterparts of `dict` and `list` for values that come out of a configuration.

A loaded configuration is shared by many tasks and compared on reload, so nothing in it may change.
`FrozenMap` stays a `dict` underneath: JSON encoders take it as it is.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenMap(dict[K, V]):
    """A mapping that refuses every change and can be hashed; equality is that of `dict`."""

    __slots__ = ("_hash",)

    _hash: int

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("a FrozenMap cannot be changed")

    __setitem__ = _refuse
    __delitem__ = _refuse
    __ior__ = _refuse
    clear = _refuse
    pop = _refuse
    popitem = _refuse
    setdefault = _refuse
    update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        try:
            return self._hash
        except AttributeError:
            self._hash = hash(frozenset(self.items()))
            return self._hash

    def __repr__(self) -> str:
        return f"FrozenMap({dict.__repr__(self)})"

    def __copy__(self) -> FrozenMap[K, V]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenMap[K, V]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMap, (dict(self),)


EMPTY: FrozenMap[Any, Any] = FrozenMap()
