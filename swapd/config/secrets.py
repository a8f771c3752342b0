"""Which parts of a document are secret.

Spans are offsets into the text as written. Before a text is parsed they are guessed from its look, so that
even the message about a syntax error shows no key.
"""

from __future__ import annotations

import re

from swapd.config.macros import REFERENCE
from swapd.config.nodes import Mapping, Node, Scalar, Sequence
from swapd.config.problems import ProblemLog
from swapd.config.sources import SourceText

_ONE_KEY = re.compile(r"""["']?apiKey["']?[ \t]*:[ \t]*([^\n,}]+)""")
_FLOW_KEYS = re.compile(r"""["']?apiKeys["']?[ \t]*:[ \t]*([^\s#][^\n]*(?:\n[ \t]+[^\n]*)*)""")
_BLOCK_KEYS = re.compile(
    r"""["']?apiKeys["']?[ \t]*:[ \t]*(?:#[^\n]*)?((?:\n(?:[ \t]*-[^\n]*|[ \t]+[^\n]*|[ \t]*))+)"""
)
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
    log.secrets[:] = [
        (scalar.source, scalar.source.written_offset(scalar.start), scalar.source.written_offset(scalar.end))
        for scalar in secret
    ]


def guess_secrets(source: SourceText, log: ProblemLog) -> None:
    """Note what looks like a key in a text that is not parsed yet; rather too much than too little."""
    if "apiKey" not in source.written:
        return
    for pattern in (_ONE_KEY, _FLOW_KEYS, _BLOCK_KEYS):
        log.secrets += [(source, *match.span(1)) for match in pattern.finditer(source.written)]


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
