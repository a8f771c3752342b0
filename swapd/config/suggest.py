"""The nearest known name to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like `word`, or None; case, `-` and `_` do not count."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(_folded(name), name)
    matches = get_close_matches(_folded(word)[:200], names, n=1, cutoff=0.7)
    return names[matches[0]] if matches else None


def closest(word: str, known: Iterable[str], count: int) -> list[str]:
    """Up to `count` known words that are like `word` at all, the likest first."""
    return get_close_matches(word[:200], list(known), n=count, cutoff=0.4)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or an empty text."""
    match = nearest(word, known)
    return f'did you mean "{match}"?' if match else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
