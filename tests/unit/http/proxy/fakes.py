"""A manager without processes, and a client without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import trio
from attrs import define, field

from swapd.config import Config, loads
from swapd.http.proxy import Proxy
from swapd.http.record import RECORD, RequestRecord
from swapd.http.server import ClientGone
from swapd.nursery.events import Refusal, RefusalCode, Revocation
from swapd.nursery.instance import Activity
from swapd.nursery.lease import Lease, Refused
from swapd.nursery.manager import ManagerEvent
from swapd.observe.logger import LogEntry, Logger


def config_of(text: str) -> Config:
    config = loads(text).config
    assert config is not None, loads(text).problems
    return config


class FakeManager:
    """Grants leases at once or when told to, and counts what is given back.

    `refusals` are answered first, one a request. A model is served from `base_url`; while `ready` is False a
    request has to wait for `open`.
    """

    def __init__(self, base_url: str = "http://127.0.0.1:9") -> None:
        self.base_url = base_url
        self.ready = True
        self.gen = 1
        self.refusals: list[Refusal] = []
        self.asked: list[tuple[str, bool, float | None]] = []
        """(model, ready_only, queue_timeout_s) of every request that had to wait."""
        self.again = 0
        self.held: list[Lease] = []
        self.tickets: list[Lease] = []
        """Of those who wanted to know that they have to wait."""
        self.granted = 0
        self._gate = trio.Event()
        self._callbacks: list[Callable[[ManagerEvent], None]] = []

    def try_acquire(self, model: str) -> Lease | None:
        return self._grant(model) if self.ready and not self.refusals else None

    async def acquire(
        self,
        model: str,
        *,
        ready_only: bool = False,
        queue_timeout_s: float | None = None,
        on_waiting: Callable[[Lease], None] | None = None,
    ) -> Lease:
        self.asked.append((model, ready_only, queue_timeout_s))
        if ready_only and not self.ready:
            raise Refused(Refusal(RefusalCode.MODEL_NOT_LOADED, f"model {model} is not loaded"))
        if on_waiting is not None and not self.ready and not self.refusals:
            self.tickets.append(Lease(self, model))  # type: ignore[arg-type]
            on_waiting(self.tickets[-1])
        await self._admit()
        return self._grant(model)

    def last_load(self, model: str) -> tuple[float, float]:
        return (0.0, -1.0)

    async def acquire_again(self, lease: Lease) -> Lease:
        self.again += 1
        self.held.remove(lease)
        await self._admit()
        lease.wait_again()
        return self._grant(lease.model, lease)

    def release(self, lease: Lease) -> None:
        self.held.remove(lease)

    def subscribe(self, callback: Callable[[ManagerEvent], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    @property
    def subscribers(self) -> int:
        return len(self._callbacks)

    # -- what a test does to it

    def open(self) -> None:
        """Let everybody in who waits."""
        self._gate.set()

    def publish(self, event: ManagerEvent) -> None:
        for callback in tuple(self._callbacks):
            callback(event)

    def revoke(self, why: Revocation) -> None:
        """End the use of all leases, as the real one does."""
        for lease in self.held:
            lease.revoked = why
            if why is Revocation.UPSTREAM_LOST:
                trio.lowlevel.spawn_system_task(lease.end_work_after, 0.25)
            else:
                lease.end_work()

    async def _admit(self) -> None:
        if self.refusals:
            await trio.lowlevel.checkpoint()
            raise Refused(self.refusals.pop(0))
        if not self.ready:
            await self._gate.wait()
            if self.refusals:
                raise Refused(self.refusals.pop(0))

    def _grant(self, model: str, lease: Lease | None = None) -> Lease:
        lease = lease or Lease(self, model)  # type: ignore[arg-type]
        lease.gen = self.gen
        lease.base_url = self.base_url
        lease.activity = Activity()
        self.held.append(lease)
        self.granted += 1
        return lease


@define(eq=False)
class Answer:
    """What a client has received so far."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(factory=list)
    chunks: list[bytes] = field(factory=list)
    complete: bool = False
    trailers: list[tuple[bytes, bytes]] = field(factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def header(self, name: bytes) -> bytes | None:
        return next((value for candidate, value in self.headers if candidate == name), None)


Pieces = Iterable[bytes]


class World:
    """A proxy with its manager and config, to be asked like an ASGI app."""

    def __init__(self, manager: FakeManager, config: str) -> None:
        self.manager = manager
        self.config = config_of(config)
        self.log: list[LogEntry] = []
        self.proxy = Proxy(lambda: self.config, manager, Logger(self.log.append))  # type: ignore[arg-type]
        self.answer = Answer()
        """The answer of the latest request, also while it is still coming in."""
        self.record = RequestRecord()

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | Pieces = b"",
        headers: dict[str, str] | None = None,
        *,
        send: Callable[[dict[str, Any]], Any] | None = None,
        disconnect: bool = False,
        **scope_extra: Any,
    ) -> Answer:
        """One request; with `disconnect`, the client leaves before its body is complete."""
        answer = self.answer = Answer()
        path, _, query = target.encode().partition(b"?")
        pieces = [body] if isinstance(body, bytes) else list(body)
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces) or disconnect}
            for number, piece in enumerate(pieces, 1)
        ]
        pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        if isinstance(body, bytes) and body and "content-length" not in dict(pairs):
            pairs.append((b"content-length", b"%d" % len(body)))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": pairs,
            "client": ("192.0.2.7", 4711),
            "extensions": {"http.response.trailers": {}},
            RECORD: RequestRecord(),
            **scope_extra,
        }
        self.record = scope[RECORD]

        async def receive() -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def collect(message: dict[str, Any]) -> None:
            if send is not None:
                await send(message)
            if message["type"] == "http.response.start":
                assert not answer.status
                answer.status, answer.headers = message["status"], list(message["headers"])
            elif message["type"] == "http.response.body":
                assert answer.status
                assert not answer.complete
                answer.chunks.append(message.get("body", b""))
                answer.complete = not message.get("more_body", False)
            else:
                answer.trailers = list(message["headers"])

        app = self.proxy.passthrough if path.startswith(b"/upstream/") else self.proxy.models
        try:
            await app(scope, receive, collect)  # type: ignore[arg-type]
        except ClientGone:
            assert disconnect
        return answer

    async def post(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        """One JSON request on a model route."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, body, {"content-type": "application/json", **named})
