"""Running apps for hypercorn's stream classes, which speak WebSocket and HTTP/2.

Those classes want their app in a task of its own, and hand it messages through whatever `spawn_app` of their
task group returns. Stock hypercorn returns a channel, and an app is never told that its client has left
unless it happens to look. Here an app runs in a cancel scope, and the end of its client cancels it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import AppWrapper
from hypercorn.typing import Scope as HypercornScope
from wsproto.frame_protocol import CloseReason

from swapd.http.server.asgi import ABORT, ASGIApp, BodyTooLarge, ClientGone
from swapd.http.server.exchange import decode_path
from swapd.http.server.settings import ServerSettings

HIGH_WATER = 64 * 1024
"""How many bytes of messages may wait for an app before `put` waits for it to take them."""


class StreamApp:
    """One call of an app, on behalf of one stream.

    Mutable state: the messages the app has not taken, of `waiting` bytes in all; `farewell`, the disconnect
    message, after which none follows and nothing can be sent; `answered`, that the app's response is whole.
    `taken` is called whenever the app has taken a message.
    """

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        send: Callable[[Any], Awaitable[None]],
        settings: ServerSettings,
        *,
        taken: Callable[[], None],
        abort: Callable[[], None],
    ) -> None:
        scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}
        scope["path"] = decode_path(scope["raw_path"])
        scope["extensions"][ABORT] = abort
        self.scope = scope
        self.cancel_scope = trio.CancelScope()
        self.waiting = 0
        self.farewell: MutableMapping[str, Any] | None = None
        self.answered = False
        self._begun = False
        self._body_complete = False
        self._expects_trailers = False
        self._received = 0
        self._messages: deque[tuple[MutableMapping[str, Any], int]] = deque()
        self._changed = trio.lowlevel.ParkingLot()
        self._send = send
        self._settings = settings
        self._taken = taken

    async def run(self, app: ASGIApp) -> None:
        """Run the app, then let the stream end as it must. Never raises an `Exception` of the app."""
        with self.cancel_scope:
            try:
                await app(self.scope, self.receive, self.send)
            except BodyTooLarge:
                await self._refuse(413)
            except Exception as error:  # noqa: BLE001 - the stream answers for it
                self._settings.report_error(error, self.scope)
            except BaseExceptionGroup as group:
                cancelled, errors = group.split(trio.Cancelled)
                if errors is not None:
                    self._settings.report_error(errors, self.scope)
                if cancelled is not None:
                    raise cancelled from None
        await self._send(None)

    async def _refuse(self, status: int) -> None:
        if not self._begun and self.scope["type"] == "http":
            headers = [(b"content-length", b"0")]
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body"})

    # The stream's side.

    async def put(self, message: Any) -> None:
        """Hand over a message.

        The disconnect of a client that did not get all of its answer, or left without a close frame, cancels
        the app. After a close frame the app has `websocket_close_s` to return.
        """
        if message["type"] == "http.disconnect":
            self.leave(message)
            if not self.answered:
                self.cancel_scope.cancel()
            return
        if message["type"] == "websocket.disconnect":
            self.leave(message)
            self.cancel_scope.deadline = trio.current_time() + self._settings.websocket_close_s
            if message["code"] == CloseReason.ABNORMAL_CLOSURE:
                self.cancel_scope.cancel()
            return
        size = len(message.get("body") or message.get("bytes") or message.get("text") or b"")
        self._messages.append((message, size))
        self.waiting += size
        self._changed.unpark_all()

    async def wait_for_room(self) -> None:
        """Wait while more than `HIGH_WATER` bytes are waiting for the app."""
        while self.waiting > HIGH_WATER and self.farewell is None:
            await self._changed.park()

    def leave(self, farewell: MutableMapping[str, Any]) -> None:
        """The client is gone, or has said good-bye."""
        if self.farewell is None:
            self.farewell = farewell
            self._changed.unpark_all()

    # The app's side.

    async def receive(self) -> MutableMapping[str, Any]:
        """The next message. What the client sent before it left comes before the disconnect message."""
        while not self._messages and self.farewell is None:
            await self._wait_for_message()
        if not self._messages:
            await trio.lowlevel.checkpoint()
            assert self.farewell is not None
            return self.farewell
        message, size = self._messages.popleft()
        self._body_complete = not message.get("more_body", True)
        self.waiting -= size
        self._changed.unpark_all()
        self._taken()
        self._received += size
        limit = self._settings.max_body_bytes
        if limit and self._received > limit and message["type"] == "http.request":
            raise BodyTooLarge
        return message

    async def _wait_for_message(self) -> None:
        if self.scope["type"] != "http" or not self._settings.body_gap_s or self._body_complete:
            await self._changed.park()
            return
        with trio.move_on_after(self._settings.body_gap_s) as gap:
            await self._changed.park()
        if gap.cancelled_caught:
            self.cancel_scope.cancel()
            await trio.lowlevel.checkpoint()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Pass a message on. Raises `ClientGone` after the client has left."""
        if self.farewell is not None:
            await trio.lowlevel.checkpoint()
            raise ClientGone("the client has gone")
        kind = message["type"]
        self._begun = True
        if kind == "http.response.start":
            self._expects_trailers = message.get("trailers", False)
        elif kind == "http.response.body":
            self.answered = not message.get("more_body", False) and not self._expects_trailers
        elif kind == "http.response.trailers":
            self.answered = not message.get("more_trailers", False)
        await self._send(message)


class AppTasks(TaskGroup):
    """hypercorn's task group, for one stream: `app` is the stream's app once that runs.

    Its nursery is the connection's, which also waits for the tasks.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        settings: ServerSettings,
        *,
        taken: Callable[[], None],
        abort: Callable[[], None],
    ) -> None:
        super().__init__()
        self._nursery = nursery
        self._settings = settings
        self._taken = taken
        self._abort = abort
        self.app: StreamApp | None = None

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: HypercornScope,
        send: Callable[[Any], Awaitable[None]],
    ) -> Callable[[Any], Awaitable[None]]:
        plain_scope = cast("MutableMapping[str, Any]", scope)
        self.app = StreamApp(plain_scope, send, self._settings, taken=self._taken, abort=self._abort)
        assert self._nursery is not None
        self._nursery.start_soon(self.app.run, cast("ASGIApp", app))
        return self.app.put
