"""Whom a name leads to: a model of this machine, or one of a peer."""

from __future__ import annotations

from msgspec import Struct

from swapd.config import Config, ModelConfig
from swapd.config.names import Peer
from swapd.http.server.asgi import Headers
from swapd.http.upstream import StreamedBody


class PeerTarget(Struct, eq=False):
    """A model of a peer."""

    peer_id: str
    peer: Peer
    model: str
    """The peer's own name for it."""

    @property
    def id(self) -> str:
        """The qualified name."""
        return f"{self.peer_id}/{self.model}"


class PeerRequest(Struct, eq=False):
    """A request as it is to leave for a peer. `headers` are complete but for framing and `Host`."""

    target: PeerTarget
    method: bytes
    path: bytes
    query: bytes
    headers: Headers
    body: bytes | StreamedBody


Target = ModelConfig | PeerTarget


def find_target(name: str, config: Config) -> Target | None:
    """What `name` stands for, models of this machine first; None if it is unknown."""
    model = config.resolve(name)
    if model is not None:
        return config.models[model]
    found = config.resolve_peer(name)
    if found is None:
        return None
    peer, model = found
    return PeerTarget(peer, config.peers[peer], model)
