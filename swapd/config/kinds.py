"""The types a key can have: what each accepts, and what it says about the rest.

A kind turns a node into a value. What does not fit is reported and becomes `INVALID`, so the caller falls
back to the default and loading goes on. The same objects describe a key to the JSON Schema, the reference
page and the dump of a configuration, which look at their class and attributes.
"""

from __future__ import annotations

from math import isfinite
from typing import Any as AnyType
from typing import ClassVar

from attrs import frozen

from swapd.config.frozen import FrozenMap
from swapd.config.nodes import Entry, Mapping, Node, Scalar, Sequence, Timestamp, is_null, kind_of
from swapd.config.problems import KeyPath, ProblemLog, listed, quoted
from swapd.config.scalars import text_of
from swapd.config.units import MAX_SECONDS, MAX_SIZE, duration_text, parse_duration, parse_size

INVALID: AnyType = object()

TYPE_STEP = 8
MODEL_STEP = 11
SETTINGS_STEP = 9

_MAX_INT = 2**63 - 1
_TRUE_WORDS = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE_WORDS = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF"})


def range_step(path: KeyPath) -> int:
    """The step of the load order in which values out of range are refused."""
    return MODEL_STEP if path[:1] == ("models",) else SETTINGS_STEP


def found(node: Node, log: ProblemLog) -> str:
    """What stands in the file, for the end of a type error. Never shows a secret or a variable's value."""
    if is_null(node):
        return "found null"
    if not isinstance(node, Scalar) or log.hides(node):
        return f"found a {kind_of(node)}"
    if node.from_environment:
        return f"found a {kind_of(node)} that comes from the environment"
    text = text_of(node.value)
    return f"found the {kind_of(node)} {quoted(text) if isinstance(node.value, str) else text}"


def _shape_hint(node: Node, expected: Kind) -> str:
    if isinstance(expected, Int):
        return "write a whole number without quotes"
    if isinstance(expected, ListOf):
        return "write it as a list: [a, b], or one item a line after '- '"
    if isinstance(expected, MapOf):
        return "write it as a mapping: name: value, one a line, indented, without '- '"
    if not isinstance(node, Scalar):
        return "a mapping is written as name: value, a list as [a, b], a single value as it is"
    return f"write {expected.words}"


def _int_hint(value: object) -> str:
    """What to do about text where an int is expected."""
    if not isinstance(value, str):
        return ""
    if value.strip().lstrip("+-").isdecimal():
        return "remove the quotes, or use a macro alone: text around a macro makes a string"
    seconds = parse_duration(value, days=True)
    if seconds is None or seconds != int(seconds):
        return ""
    return f"units are not understood here; {value} is {int(seconds)} seconds"


class Kind:
    """Base of all kinds. `words` is the type in an error message and in the reference."""

    words: str
    collection: ClassVar[bool] = False  # null means empty rather than "keep the default"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        raise NotImplementedError

    def empty(self) -> AnyType:
        """The value of a null collection."""
        raise NotImplementedError

    def null_entry(self) -> AnyType:
        """The value of a null entry in a map of this kind; INVALID when it is not allowed."""
        return INVALID

    def has_key(self, name: str) -> bool:
        """True when this is a section with fixed keys, and this one of them."""
        return False

    def refuse(self, node: Node, path: KeyPath, log: ProblemLog, hint: str = "") -> AnyType:
        """Report a value of the wrong type; without a hint of its own the shape is explained."""
        hint = hint or _shape_hint(node, self)
        log.error(
            "type",
            f"expected {self.words}, {found(node, log)}",
            at=node,
            path=path,
            hint=hint,
            step=TYPE_STEP,
        )
        return INVALID


@frozen
class Int(Kind):
    """An int; a float loses its fraction. `minimum` is checked in a later step than the type."""

    minimum: int | None = None
    code: str = "negative"
    words: str = "an int"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self.refuse(node, path, log, _int_hint(value))
        if isinstance(value, float):
            if not isfinite(value) or abs(value) > _MAX_INT:
                return self.refuse(node, path, log)
            whole = int(value)
            if whole != value:
                log.warning(
                    "fraction-dropped",
                    f"{text_of(value)} is cut to {whole}",
                    at=node,
                    path=path,
                    hint="write an int",
                )
            value = whole
        if not -_MAX_INT - 1 <= value <= _MAX_INT:
            return self.refuse(node, path, log)
        if self.minimum is not None and value < self.minimum:
            log.error(
                self.code,
                f"{path[-1]} cannot be {value}",
                at=node,
                path=path,
                hint=f"permitted: {self.minimum} and above",
                step=range_step(path),
            )
            return INVALID
        return value

    def null_entry(self) -> AnyType:
        return 0


@frozen
class Number(Kind):
    """An int or float, not bent in any way; `above` is an exclusive lower bound."""

    above: float | None = None
    minimum: float | None = None
    words: str = "a number"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            return self.refuse(node, path, log)
        too_low = (self.above is not None and value <= self.above) or (
            self.minimum is not None and value < self.minimum
        )
        if too_low:
            bound = f"above {self.above:g}" if self.above is not None else f"{self.minimum:g} or more"
            log.error(
                "negative",
                f"{path[-1]} cannot be {text_of(value)}",
                at=node,
                path=path,
                hint=f"permitted: {bound}",
                step=range_step(path),
            )
            return INVALID
        return float(value)


@frozen
class Bool(Kind):
    words: str = "a bool (true or false)"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            if value in _TRUE_WORDS:
                return True
            if value in _FALSE_WORDS:
                return False
            if value in ("true", "false"):
                return self.refuse(node, path, log, "remove the quotes")
        return self.refuse(node, path, log, "write true or false")


@frozen
class Text(Kind):
    """A string; numbers, bools and timestamps become text. `trim` strips blanks."""

    trim: bool = False
    words: str = "a string"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        if not isinstance(node, Scalar):
            return self.refuse(node, path, log)
        value = node.value
        if value is None:
            return ""
        if not isinstance(value, str) or isinstance(value, Timestamp):
            text = text_of(value)
            if text != node.text:
                log.warning(
                    "number-as-text",
                    f"{quoted(node.text)} is read as a {kind_of(node)} and becomes {quoted(text)}",
                    at=node,
                    path=path,
                    hint="put it in quotes to keep its spelling",
                )
            return text
        return value.strip() if self.trim else value

    def null_entry(self) -> AnyType:
        return ""


@frozen
class Choice(Kind):
    """One of a few words. A lenient choice ignores case and blanks, and falls back to the default."""

    values: tuple[str, ...]
    lenient: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"one of {listed(value or quoted(value) for value in self.values)}"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        text = Text().load(node, path, log)
        if text is INVALID:
            return INVALID
        word = text.strip().lower() if self.lenient else text
        if word in self.values:
            return word
        report = log.warning if self.lenient else log.error
        extra: dict[str, AnyType] = {} if self.lenient else {"step": range_step(path)}
        report(
            "bad-choice",
            f"{path[-1]} cannot be {quoted(text)}" + ("; the default is used" if self.lenient else ""),
            at=node,
            path=path,
            hint=f"permitted: {listed(value for value in self.values if value)}",
            **extra,
        )
        return INVALID


@frozen
class Duration(Kind):
    """Duration text such as `15s` or `1h30m`; a bare number is refused."""

    words: str = "a duration such as 15s"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        value = node.value if isinstance(node, Scalar) else None
        seconds = parse_duration(value) if isinstance(value, str) else None
        if seconds is None or abs(seconds) > MAX_SECONDS:
            return self.refuse(node, path, log, "add a unit, e.g. 15s (units: ns us ms s m h)")
        return seconds


@frozen
class Seconds(Kind):
    """A number of seconds, or duration text in which days are allowed."""

    words: str = "seconds (a number, or text such as 1h30m)"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, str):
            value = parse_duration(value, days=True)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            return self.refuse(node, path, log, "write a number without quotes, or add a unit, e.g. 15s")
        if abs(value) > MAX_SECONDS:
            return self.refuse(node, path, log, f"the longest time is {duration_text(MAX_SECONDS)}")
        if value < 0:
            log.error(
                "negative",
                f"{path[-1]} cannot be {text_of(value)}, as times are not negative",
                at=node,
                path=path,
                hint="permitted: 0 and above",
                step=range_step(path),
            )
            return INVALID
        return float(value)


@frozen
class Size(Kind):
    """Bytes, or text with a unit: powers of 1024 (`KiB`) or of 1000 (`KB`)."""

    words: str = "a size (bytes, or text such as 4MiB)"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, str):
            value = parse_size(value)
        if isinstance(value, float) and isfinite(value) and value == int(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value > MAX_SIZE:
            return self.refuse(node, path, log, "units: B, KiB MiB GiB TiB, KB MB GB TB")
        if value < 0:
            log.error(
                "negative",
                f"{path[-1]} cannot be {value}, as sizes are not negative",
                at=node,
                path=path,
                hint="permitted: 0 and above",
                step=range_step(path),
            )
            return INVALID
        return value


@frozen
class ListOf(Kind):
    """A list; null items are dropped."""

    item: Kind
    collection: ClassVar[bool] = True

    words: str = "a list"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        if not isinstance(node, Sequence):
            return self.refuse(node, path, log)
        values = (
            self.item.load(item, (*path, index), log)
            for index, item in enumerate(node.items)
            if not is_null(item)
        )
        return tuple(value for value in values if value is not INVALID)

    def empty(self) -> AnyType:
        return ()

    def null_entry(self) -> AnyType:
        return ()


@frozen
class MapOf(Kind):
    """A mapping from free names to values of one kind."""

    item: Kind
    key: str = "name"
    collection: ClassVar[bool] = True

    words: str = "a mapping"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        if not isinstance(node, Mapping):
            return self.refuse(node, path, log)
        values: dict[str, AnyType] = {}
        owner = ""
        for name, entry in node.entries.items():
            if owner and not isinstance(entry.value, Mapping) and self.item.has_key(name):
                self._refuse_outdented(name, entry, owner, (*path, name), log)
                continue
            value = self._entry(name, entry, (*path, name), log)
            if value is not INVALID:
                values[name] = value
            owner = name if is_null(entry.value) else owner
        return FrozenMap(values)

    def _refuse_outdented(self, name: str, entry: Entry, owner: str, path: KeyPath, log: ProblemLog) -> None:
        """A key of an entry that stands beside the entry's name instead of below it."""
        log.error(
            "type",
            f"{quoted(name)} stands beside {quoted(owner)}, expected it below",
            at=entry.key,
            path=path,
            hint=f"indent it further than {owner}:",
            step=TYPE_STEP,
        )

    def _entry(self, name: str, entry: Entry, path: KeyPath, log: ProblemLog) -> AnyType:
        if not is_null(entry.value):
            return self.item.load(entry.value, path, log)
        value = self.item.empty() if self.item.collection else self.item.null_entry()
        if value is INVALID:
            log.error(
                "type",
                f"{quoted(name)} has no content, expected {self.item.words}",
                at=entry.key,
                path=path,
                hint="indent its keys below it, or remove it",
                step=TYPE_STEP,
            )
        return value

    def empty(self) -> AnyType:
        return FrozenMap()

    def null_entry(self) -> AnyType:
        return FrozenMap()


@frozen
class Any(Kind):
    """Every JSON-like value; lists become tuples, mappings FrozenMaps, timestamps RFC 3339 text."""

    words: str = "any value"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        return plain_value(node)

    def null_entry(self) -> AnyType:
        return None


def plain_value(node: Node) -> AnyType:
    if isinstance(node, Mapping):
        return FrozenMap({name: plain_value(value) for name, value in node.items()})
    if isinstance(node, Sequence):
        return tuple(plain_value(item) for item in node.items)
    assert isinstance(node, Scalar)
    return str(node.value) if isinstance(node.value, Timestamp) else node.value
