"""Which parts of a document are secret."""

from __future__ import annotations

from swapd.config.macros import REFERENCE
from swapd.config.nodes import Mapping, Node, Scalar, Sequence
from swapd.config.problems import ProblemLog

_PUBLIC = ("keyFile", "name", "models", "admin")


def mark_secrets(root: Mapping, log: ProblemLog) -> None:
    """Note where keys stand, so that no message and no source line ever shows one."""
    secret: list[Scalar] = []
    _collect(root.get("apiKeys"), secret)
    peers = root.get("peers")
    if isinstance(peers, Mapping):
        for _, peer in peers.items():
            if isinstance(peer, Mapping):
                _collect(peer.get("apiKey"), secret)
    secret += _macros_used_in(secret, root.get("macros"))
    log.secrets += [(scalar.source, scalar.start, scalar.end) for scalar in secret]


def _collect(node: Node | None, secret: list[Scalar]) -> None:
    if isinstance(node, Scalar):
        secret.append(node)
    elif isinstance(node, Sequence):
        for item in node.items:
            _collect(item, secret)
    elif isinstance(node, Mapping):
        for name, value in node.items():
            if name not in _PUBLIC:
                _collect(value, secret)


def _macros_used_in(secret: list[Scalar], macros: Node | None) -> list[Scalar]:
    """The macro definitions that supply secrets."""
    if not isinstance(macros, Mapping):
        return []
    used: dict[str, Scalar] = {}
    pending = list(secret)
    while pending:
        value = pending.pop().value
        for name in REFERENCE.findall(value) if isinstance(value, str) else ():
            definition = macros.get(name)
            if isinstance(definition, Scalar) and name not in used:
                used[name] = definition
                pending.append(definition)
    return list(used.values())
