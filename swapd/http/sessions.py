"""Who is signed in: what a browser shows instead of a key once somebody has typed the key in.

The browser gets a random token as a cookie that no script can read. swapd keeps only the token's digest, and
which key it stands for; that key is looked up again for every request, so its rights are those of the
configuration in force. Sessions are kept in memory: they survive a reload, not a restart.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct

LIFETIME_S: Final = 30 * 24 * 3600
"""No session is good for longer, whether the browser keeps its cookie that long or not."""

_MOST: Final = 1024


class _Session(Struct, frozen=True):
    key_digest: bytes
    ends_at: float


class Sessions:
    """Sessions by token; a key is known here by its digest.

    `now` gives wall-clock time in seconds since the epoch, for a machine may sleep in between.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._sessions: dict[bytes, _Session] = {}

    def begin(self, key_digest: bytes) -> str:
        """A new session's token. Of very many sessions the oldest one ends for it."""
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token.encode("ascii"))] = _Session(key_digest, self._now() + LIFETIME_S)
        while len(self._sessions) > _MOST:
            del self._sessions[next(iter(self._sessions))]
        return token

    def end(self, token: bytes) -> None:
        """End the session with this token, if there is one."""
        self._sessions.pop(_digest(token), None)

    def key_digest(self, token: bytes) -> bytes | None:
        """The digest of the key that was shown when the session began; None if there is no such session."""
        digest = _digest(token)
        session = self._sessions.get(digest)
        if session is None:
            return None
        if session.ends_at <= self._now():
            del self._sessions[digest]
            return None
        return session.key_digest

    def keep_only(self, key_digests: Collection[bytes]) -> None:
        """End the sessions of all other keys."""
        self._sessions = {
            token: session for token, session in self._sessions.items() if session.key_digest in key_digests
        }


def _digest(token: bytes) -> bytes:
    # Looking a digest up takes a time that tells nothing about the tokens that exist.
    return hashlib.sha256(token).digest()
