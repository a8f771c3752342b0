"""API keys: may this request be answered, and what may whoever sent it?

A request shows one key (see `swapd.http.credentials`). A wrong one is not made good by a right one further
down. A browser that has signed in shows a session instead, which is as good as the key it began with.
Without configured keys everybody may do everything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from swapd.http.answers import send_whole
from swapd.http.credentials import session_cookie, shown_key
from swapd.http.errors import ErrorAnswer, Rejected, render
from swapd.http.record import RECORD
from swapd.http.sessions import Sessions

if TYPE_CHECKING:
    from swapd.config import ApiKey, Config
    from swapd.http.server.asgi import Headers, Scope, Send

CALLER: Final = "swapd.caller"
"""The key under which an admitted request's scope holds its `Caller`; absent while no keys are configured."""

PATIENCE: Final = 5
"""Wrong keys from one address before its next ones are answered late."""
DELAY_S: Final = 1.0

_LATE: Final = "swapd.answer_late"
_REMEMBERED_ADDRESSES: Final = 1024
_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="swapd"')


class Caller(Struct, frozen=True):
    """Who sent a request: the configured key that it showed, or anybody (None) where none is needed."""

    key: ApiKey | None = None

    @property
    def name(self) -> str:
        return "" if self.key is None else self.key.name

    @property
    def is_admin(self) -> bool:
        return self.key is None or self.key.admin

    @property
    def is_limited(self) -> bool:
        """Whether there may be models that the key is no good for."""
        return self.key is not None and bool(self.key.models)

    def may_use(self, model: str, config: Config) -> bool:
        """Whether the key is good for `model`: a model id, or the qualified name of a peer's model.

        A pattern of the key that is a name itself, an alias for example, stands for what it leads to.
        """
        if self.key is None or not self.key.models:
            return True
        return any(fnmatchcase(model, _led_to(pattern, config)) for pattern in self.key.models)


ANYBODY: Final = Caller()


def caller_of(scope: Scope) -> Caller:
    """Who sent an admitted request."""
    caller: Caller = scope.get(CALLER, ANYBODY)
    return caller


def require_admin(scope: Scope) -> None:
    """Raises `Rejected` unless the request was sent with a key that may manage the daemon."""
    if not caller_of(scope).is_admin:
        raise Rejected.with_code("admin_required", "this needs an API key with admin rights")


class Authentication:
    """Compares what requests show with the configured keys.

    `keys` returns those in force and is asked for every request. The mutable state are their digests, kept
    as long as the keys stay the same, how many wrong keys came from which address lately, and who has signed
    in. A session ends when its key is none of those in force any more.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[ApiKey]],
        sessions: Sessions | None = None,
        *,
        admin_socket: str | None = None,
    ) -> None:
        """`admin_socket` is the path of a unix socket whose clients need no key: the file system has decided
        who they may be."""
        self._keys = keys
        self._admin_socket = (admin_socket, None)
        self._sessions = sessions or Sessions()
        self._digested: Sequence[ApiKey] = ()
        self._digests: list[bytes] = []
        self._failures: dict[str, int] = {}

    def admits(self, scope: Scope) -> bool:
        """Whether the request may be answered. Notes in the scope who sent it."""
        keys = self._keys()
        if not keys or scope.get("server") == self._admin_socket:
            return True
        shown = shown_key(scope["headers"])
        if shown is None and (token := session_cookie(scope["headers"])) is not None:
            key = self._signed_in(keys, token)
        else:
            key = self._matching(keys, shown)
        if key is None:
            if shown is not None:  # else somebody who has not been asked yet, such as a browser
                self._note_failure(scope)
            return False
        scope[CALLER] = Caller(key)
        if self._failures:
            self._failures.pop(_address(scope), None)
        return True

    def sign_in(self, scope: Scope, shown: str) -> tuple[Caller, str] | None:
        """Begin a session with the key `shown`: who that is, and the session's token. None if it is wrong.

        The session that the request came with, if any, ends.
        """
        key = self._matching(self._keys(), shown.encode("utf-8", "surrogatepass"))
        if key is None:
            self._note_failure(scope)
            return None
        self._failures.pop(_address(scope), None)
        self.sign_out(scope)
        return Caller(key), self._sessions.begin(_digest(key.key.encode()))

    def sign_out(self, scope: Scope) -> None:
        """End the session whose cookie the request carries, if any."""
        token = session_cookie(scope["headers"])
        if token is not None:
            self._sessions.end(token)

    def _signed_in(self, keys: Sequence[ApiKey], token: bytes) -> ApiKey | None:
        self._take(keys)
        digest = self._sessions.key_digest(token)
        return None if digest is None else dict(zip(self._digests, keys, strict=True)).get(digest)

    def _take(self, keys: Sequence[ApiKey]) -> None:
        if keys is not self._digested:
            self._digested, self._digests = keys, [_digest(key.key.encode()) for key in keys]
            self._sessions.keep_only(self._digests)

    def _matching(self, keys: Sequence[ApiKey], shown: bytes | None) -> ApiKey | None:
        self._take(keys)
        # All are compared, digests of equal length and each in constant time: how long it takes tells nothing
        # about any of them. "" equals no key, as a configured key is never empty.
        digest = _digest(shown or b"")
        found = None
        for key, candidate in zip(keys, self._digests, strict=True):
            if hmac.compare_digest(digest, candidate):
                found = key
        return found

    def _note_failure(self, scope: Scope) -> None:
        address = _address(scope)
        failures = self._failures[address] = self._failures.pop(address, 0) + 1
        if failures > PATIENCE:
            scope[_LATE] = True
        while len(self._failures) > _REMEMBERED_ADDRESSES:
            del self._failures[next(iter(self._failures))]


async def answer_late(scope: Scope) -> None:
    """Wait a second if the request is one more of several with wrong keys."""
    if scope.get(_LATE):
        await trio.sleep(DELAY_S)


async def refuse(scope: Scope, send: Send, *, challenge: bool = True) -> None:
    """Answer that a key is needed. Browsers get to ask for it, except on behalf of our own pages.

    Whoever has sent several wrong keys waits a second for it.
    """
    scope[RECORD].error_code = "unauthorized"
    await answer_late(scope)
    error = ErrorAnswer("unauthorized", "unauthorized: invalid or missing API key")
    status, headers, body = render(error, scope)
    if challenge and not _sent_by_our_own_page(scope["headers"]):
        headers = [*headers, _CHALLENGE]
    await send_whole(scope, send, status, headers, body)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _led_to(pattern: str, config: Config) -> str:
    """What an allowed name stands for; a pattern stands for itself."""
    model = config.resolve(pattern)
    if model is not None:
        return _literal(model)
    peer = config.resolve_peer(pattern)
    return pattern if peer is None else _literal("/".join(peer))


def _literal(name: str) -> str:
    """A pattern that matches `name` alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _sent_by_our_own_page(headers: Headers) -> bool:
    return any(
        (name == b"x-swapd-ui" and value == b"1") or (name == b"sec-fetch-site" and value == b"same-origin")
        for name, value in headers
    )
