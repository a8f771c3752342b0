"""The driver of the fake upstream process: one thread, non-blocking sockets, a selector and a clock.

Not trio, because importing trio takes longer than the whole process may take to start listening.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import struct
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Never

from swapd.testing.upstream.conversation import converse
from swapd.testing.upstream.state import UpstreamState
from swapd.testing.upstream.steps import Close, Crash, Pause, Reset, Step, Steps, Until
from swapd.testing.upstream.wire import RequestReader, WireError, error_reply

_READ_BYTES = 256 * 1024

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""The SO_LINGER value that makes the coming close of a TCP socket a reset (socket(7))."""


class _Connection:
    """One client.

    Mutable state, changed by `Loop` only: the running conversation (`steps`), what it waits for (`until`,
    or a turn of the clock that is valid while `turn` is unchanged) and what is still to be sent (`out`).
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = RequestReader()
        self.steps: Steps | None = None
        self.until: Until | None = None
        self.pausing = False
        self.turn = 0
        self.out = memoryview(b"")
        self.last = False

    @property
    def waiting(self) -> bool:
        return self.pausing or self.until is not None


class Loop:
    """Serves the conversations of one listening socket until the process ends.

    `crash` carries out a Crash step and does not return.
    """

    def __init__(self, state: UpstreamState, crash: Callable[[], Never]) -> None:
        self._state = state
        self._crash = crash
        self._selector = selectors.DefaultSelector()
        self._connections: set[_Connection] = set()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count()
        self._changed = False
        state.on_change = self._note_change

    def call_after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` on the loop so many seconds from now."""
        heapq.heappush(self._alarms, (monotonic() + seconds, next(self._sequence), action))

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        """Run `action` whenever the file descriptor is readable."""
        self._selector.register(fd, selectors.EVENT_READ, action)

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        listener.listen(1024)
        self.watch(listener.fileno(), lambda: self._accept(listener))

    def run(self) -> Never:
        while True:
            for key, events in self._selector.select(self._next_alarm_s()):
                if isinstance(key.data, _Connection):
                    self._serve(key.data, events)
                else:
                    key.data()
            self._ring_alarms()
            while self._changed:
                self._changed = False
                self._look_again()

    def _note_change(self) -> None:
        self._changed = True

    def _next_alarm_s(self) -> float | None:
        return max(0.0, self._alarms[0][0] - monotonic()) if self._alarms else None

    def _ring_alarms(self) -> None:
        while self._alarms and self._alarms[0][0] <= monotonic():
            heapq.heappop(self._alarms)[2]()

    def _look_again(self) -> None:
        for connection in list(self._connections):
            if connection.until is not None and connection.until.condition():
                connection.until = None
                self._advance(connection)
            elif connection in self._connections and not self._is_watched(connection):
                self._watch_connection(connection)  # a stalled upload may go on

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # the client was gone before we got to it
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _serve(self, connection: _Connection, events: int) -> None:
        if events & selectors.EVENT_READ and not self._receive(connection):
            return
        self._advance(connection)

    def _receive(self, connection: _Connection) -> bool:
        """Take in what has arrived; False when the client has left."""
        try:
            data = connection.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return False
        connection.reader.feed(data)
        return True

    def _advance(self, connection: _Connection) -> None:
        """Carry out steps until the conversation waits for something, then watch for that."""
        while not connection.waiting and self._flush(connection):
            step = self._next_step(connection)
            if step is None or not self._carry_out(connection, step):
                break
        if connection in self._connections:
            self._watch_connection(connection)

    def _next_step(self, connection: _Connection) -> Step | None:
        """The next step of the running conversation, or of that with the next request; None if neither is."""
        while True:
            if connection.steps is not None:
                step = next(connection.steps, None)
                if step is not None:
                    return step
                connection.steps = None
                if connection.last:
                    return Close()
            try:
                request = connection.reader.next_request()
            except WireError as error:
                self._state.wire_errors.append(str(error))
                connection.last, connection.steps = True, _refuse(str(error))
                continue
            if request is None:
                interim, connection.reader.interim = connection.reader.interim, b""
                return interim or None
            connection.reader.interim = b""
            connection.last, connection.steps = not request.keep_alive, converse(request, self._state)

    def _carry_out(self, connection: _Connection, step: Step) -> bool:
        """Do one step; False when the connection is gone."""
        match step:
            case bytes():
                connection.out = memoryview(step)
            case Pause(seconds=seconds) if seconds > 0:
                connection.turn += 1
                connection.pausing = True
                turn = connection.turn
                self.call_after(seconds, lambda: self._wake(connection, turn))
            case Until() if not step.condition():
                connection.until = step
            case Close():
                self._drop(connection)
            case Reset():
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                self._drop(connection)
            case Crash():
                self._crash()
        return connection in self._connections

    def _wake(self, connection: _Connection, turn: int) -> None:
        if connection.turn == turn and connection in self._connections:
            connection.pausing = False
            self._advance(connection)

    def _flush(self, connection: _Connection) -> bool:
        """Send what is to be sent; True when all of it is."""
        while connection.out:
            try:
                sent = connection.sock.send(connection.out)
            except BlockingIOError:
                return False
            except OSError:
                self._drop(connection)
                return False
            connection.out = connection.out[sent:]
        return True

    def _watch_connection(self, connection: _Connection) -> None:
        """Register what the connection waits for; a client that leaves is missed only in a stalled upload."""
        stalled = self._state.upload_stalled(connection.reader.current)
        events = (0 if stalled else selectors.EVENT_READ) | (selectors.EVENT_WRITE if connection.out else 0)
        registered = self._is_watched(connection)
        if not events and registered:
            self._selector.unregister(connection.sock)
        elif events and registered:
            self._selector.modify(connection.sock, events, connection)
        elif events:
            self._selector.register(connection.sock, events, connection)

    def _is_watched(self, connection: _Connection) -> bool:
        return connection.sock in self._selector.get_map()

    def _drop(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        if self._is_watched(connection):
            self._selector.unregister(connection.sock)
        connection.sock.close()
        steps, connection.steps = connection.steps, None
        if steps is not None:
            steps.close()
        else:
            self._state.client_left(connection.reader.current)


def _refuse(message: str) -> Steps:
    yield error_reply(400, message)
