"""Kinds that only one or two keys need."""

from __future__ import annotations

from typing import Any as AnyType
from typing import ClassVar

from attrs import frozen

from swapd.config.kinds import INVALID, Kind, ListOf, Text
from swapd.config.nodes import Node, Scalar
from swapd.config.problems import KeyPath, ProblemLog


@frozen
class AutoOr(Kind):
    """The word `auto`, or a value of another kind."""

    other: Kind

    @property
    def words(self) -> str:  # type: ignore[override]
        return f'"auto" or {self.other.words}'

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        if not isinstance(node, Scalar):
            return self.other.load(node, path, log)
        return "auto" if node.value == "auto" else self.refuse(node, path, log)


@frozen
class Either(Kind):
    """A single value of one kind, or a collection of another."""

    single: Kind
    several: Kind

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"{self.single.words}, or {self.several.words}"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        kind = self.single if isinstance(node, Scalar) else self.several
        return kind.load(node, path, log)


@frozen
class Address(Kind):
    """An IP address or CIDR block, normalised to a block."""

    words: str = "an IP address or CIDR block"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        import ipaddress  # rarely configured, and not cheap to import

        text = Text().load(node, path, log)
        if text is INVALID:
            return INVALID
        try:
            return str(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            return self.refuse(node, path, log, "for example 10.0.0.0/8 or 192.168.1.7")


@frozen
class Addresses(ListOf):
    """A list of IP addresses and CIDR blocks."""

    item: Kind = Address()
    collection: ClassVar[bool] = True
