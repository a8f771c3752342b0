"""Where a request came from.

Behind a reverse proxy the socket's peer is the proxy, and the client stands in a header. Only a proxy that
the configuration trusts is believed, because anybody can send that header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from swapd.http.server.asgi import Headers

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_REMEMBERED_PEERS: Final = 1024
_FORWARDING: Final = frozenset({b"x-forwarded-for", b"x-real-ip"})


class TrustedProxies:
    """Knows whose forwarding headers to believe.

    Its only mutable state is a memory of recent peers: matching addresses with networks costs more than all
    the rest of an access log line.
    """

    def __init__(self, networks: Iterable[str] = LOOPBACK) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]
        self._known: dict[str, bool] = {}

    def trusts(self, peer: str) -> bool:
        """Whether `peer`, the address at the other end of the socket, is a trusted proxy.

        "" stands for a unix socket, which only this machine can reach: it is trusted.
        """
        known = self._known.get(peer)
        if known is None:
            if len(self._known) >= _REMEMBERED_PEERS:
                self._known.clear()
            known = self._known[peer] = not peer or self._is_listed(peer)
        return known

    def client_ip(self, peer: str, headers: Headers) -> str:
        """The client's address: the first of `X-Forwarded-For`, else `X-Real-IP`, else `peer`.

        `headers` have lower-case names; of equal ones the first counts. What stands in them is text of the
        sender's choice.
        """
        if not self.trusts(peer):
            return peer
        told = [pair for pair in headers if pair[0] in _FORWARDING]
        if not told:
            return peer
        said = dict(reversed(told))
        forwarded = said.get(b"x-forwarded-for", b"").partition(b",")[0].strip()
        return (forwarded or said.get(b"x-real-ip", b"")).decode("latin-1") or peer

    def _is_listed(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)
