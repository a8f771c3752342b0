"""The fake upstream inside a trio program, on a real socket: for tests that see and steer it directly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from socket import SO_LINGER, SO_REUSEADDR, SOL_SOCKET

import trio

from swapd.testing.upstream.conversation import converse
from swapd.testing.upstream.loop import RESET_ON_CLOSE
from swapd.testing.upstream.settings import Settings
from swapd.testing.upstream.state import Exchange, UpstreamState
from swapd.testing.upstream.steps import Close, Crash, Pause, Reset, Step, Steps, Until
from swapd.testing.upstream.wire import Request, RequestReader, WireError, error_reply

_READ_BYTES = 256 * 1024

Script = Callable[[Request], Steps]
"""An answer of the test's own: from a request to the steps that answer it."""


class LocalUpstream:
    """A running in-process upstream; made by `serve_upstream`.

    Mutable state: that of `state`, the `script` that answers model requests in place of the built-in
    answers while it is set, and who waits for a change.
    """

    def __init__(self, state: UpstreamState, listener: trio.socket.SocketType) -> None:
        self.state = state
        self.script: Script | None = None
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.crashed = trio.Event()
        self._changed = trio.Event()
        state.on_change = self._note_change

    @property
    def requests(self) -> list[Request]:
        """The model requests received, in order; those to `/health` and `/control/` are not among them."""
        return [exchange.request for exchange in self.state.exchanges]

    def set(self, **knobs: object) -> None:
        """Turn knobs (`tokens=3, tps=50, health="hang"`); they hold from the next request on."""
        self.state.change(knobs)

    def hold(self) -> None:
        """Keep model requests waiting from now on."""
        self.state.hold()

    def release(self, count: int | None = None) -> None:
        """Let the `count` oldest held requests go; without a count all, and hold no more."""
        self.state.release(count)

    def crash(self) -> None:
        """Do as a process does that dies: refuse connections, cut those there are."""
        self.crashed.set()
        self.state.notify()

    async def received(self, count: int) -> list[Exchange]:
        """Wait until so many model requests have been received; all of them."""
        await self.until(lambda: len(self.state.exchanges) >= count)
        return self.state.exchanges

    async def aborted(self, count: int) -> list[Exchange]:
        """Wait until so many clients have left before their answer was complete; those exchanges."""
        await self.until(lambda: len(self.state.aborted) >= count)
        return self.state.aborted

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the state holds."""
        while not condition():
            await self._changed.wait()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def serve_upstream(**knobs: object) -> AsyncIterator[LocalUpstream]:
    """Run an upstream with these knobs on a free port of 127.0.0.1 for the length of the block.

    Leaving the block, by cancellation too, drops every connection at once. Knobs of processes (forks,
    signals, exit codes, log output) do nothing here; a crash ends the server, not the program.
    """
    settings = Settings().changed(knobs)
    state = UpstreamState(settings)
    listener = await _bound(settings)
    async with trio.open_nursery() as nursery:
        upstream = LocalUpstream(state, listener)
        nursery.start_soon(_load, upstream)
        nursery.start_soon(_serve_until_crash, upstream, listener)
        yield upstream
        nursery.cancel_scope.cancel()


async def _bound(settings: Settings) -> trio.socket.SocketType:
    """A bound socket; it listens at once unless connections are to be refused at first."""
    sock = trio.socket.socket()
    sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    await sock.bind((settings.host, settings.port))
    if not settings.never_listen and (settings.load_mode != "refuse" or settings.load_s <= 0):
        sock.listen(1024)
    return sock


async def _load(upstream: LocalUpstream) -> None:
    if not upstream.state.ready:
        await trio.sleep(upstream.state.settings.load_s)
        upstream.state.become_ready()


async def _serve_until_crash(upstream: LocalUpstream, listener: trio.socket.SocketType) -> None:
    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_accept, upstream, listener)
            await upstream.crashed.wait()
            nursery.cancel_scope.cancel()


async def _accept(upstream: LocalUpstream, listener: trio.socket.SocketType) -> None:
    settings = upstream.state.settings
    if settings.never_listen:
        await trio.sleep_forever()
    if settings.load_mode == "refuse" and not upstream.state.ready:
        await upstream.until(lambda: upstream.state.ready)
        listener.listen(1024)
    async with trio.open_nursery() as nursery:
        while True:
            sock, _ = await listener.accept()
            nursery.start_soon(_serve_connection, upstream, trio.SocketStream(sock))


async def _serve_connection(upstream: LocalUpstream, stream: trio.SocketStream) -> None:
    """Answer one client until it leaves, or a conversation ends the connection."""
    connection = _Connection(upstream, stream)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.read, nursery.cancel_scope)
            await connection.answer_all()
            nursery.cancel_scope.cancel()
    finally:
        upstream.state.client_left(connection.reader.current)
        stream.socket.close()


class _Connection:
    """One client: a task that reads all the time, so as to see it leave, and one that answers.

    Mutable state: the reader, fed by `read`; `_arrived` wakes the answering task.
    """

    def __init__(self, upstream: LocalUpstream, stream: trio.SocketStream) -> None:
        self.reader = RequestReader()
        self._upstream = upstream
        self._state = upstream.state
        self._stream = stream
        self._arrived = trio.Event()

    async def read(self, scope: trio.CancelScope) -> None:
        """Feed the reader; cancels `scope` when the client leaves."""
        while True:
            await self._upstream.until(lambda: not self._state.upload_stalled(self.reader.current))
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                scope.cancel()
                return
            self.reader.feed(data)
            self._arrived.set()

    async def answer_all(self) -> None:
        """Answer request after request; returns when the connection is to be closed."""
        while True:
            try:
                request = await self._next_request()
            except WireError as error:
                self._state.wire_errors.append(str(error))
                await self._send(error_reply(400, str(error)))
                return
            with self._conversation(request) as steps:
                for step in steps:
                    if not await self._carry_out(step):
                        return
            if not request.keep_alive:
                return

    async def _next_request(self) -> Request:
        while (request := self.reader.next_request()) is None:
            interim, self.reader.interim = self.reader.interim, b""
            await self._send(interim)
            await self._arrived.wait()
            self._arrived = trio.Event()
        self.reader.interim = b""
        return request

    @contextmanager
    def _conversation(self, request: Request) -> Iterator[Steps]:
        if self._upstream.script is None or request.path.startswith(("/control/", "/health")):
            with closing(converse(request, self._state)) as steps:
                yield steps
            return
        exchange = self._state.record(request)
        outcome = "aborted"
        try:
            yield self._upstream.script(request)
            outcome = "done"
        finally:
            self._state.finish(exchange, outcome)

    async def _carry_out(self, step: Step) -> bool:
        """Do one step; False when it ends the connection."""
        match step:
            case bytes():
                await self._send(step)
            case Pause(seconds=seconds):
                if seconds > 0:
                    await trio.sleep(seconds)
            case Until(condition=condition):
                await self._upstream.until(condition)
            case Close():
                return False
            case Reset():
                self._stream.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
                return False
            case Crash():
                self._upstream.crash()
                await trio.sleep_forever()
        return True

    async def _send(self, data: bytes) -> None:
        """Send; a client that has left is noticed by `read`, which cancels us."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.sleep_forever()
