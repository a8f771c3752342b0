"""The daemon's standard output, written where it cannot hold anybody up.

Standard output may be a pipe that nobody reads, a terminal that is held with Ctrl-S or a file on a slow
disk. So a thread writes it, fed by a bounded queue: what does not fit is dropped and counted, and a line
says so when there is room again. Nothing ever waits for the thread, not even the end of the process, which
gives it a fraction of a second to write what is left.

The thread costs nothing while nothing is logged: it sleeps without a time-out. While much is logged it writes
in batches, at most twenty a second, because each time it wakes it competes with the event loop.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from typing import Final

QUEUE_BYTES: Final = 1_048_576
BATCH_BYTES: Final = 65_536
LINGER_S: Final = 0.05
"""How long the writer collects after a write before it looks again; a single line goes out at once."""

FLUSH_S: Final = 0.2
"""How long the end of the process may wait for lines that are still queued."""


class Console:
    """A queue of lines in front of one file descriptor, and the thread that empties it.

    The mutable state is split by owner, so that no lock is needed: the event loop's thread adds to the queue
    and counts what it queued and dropped; the writer takes from the queue and counts what it wrote. The
    descriptor stays the caller's.
    """

    def __init__(self, fd: int = 1, *, limit: int = QUEUE_BYTES) -> None:
        self._fd = fd
        self._limit = limit
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._queued_bytes = 0  # ever; only the producer changes it
        self._done_bytes = 0  # ever, written or failed; only the writer changes it
        self._unreported = 0  # lines dropped since the last note about it
        self._closing = threading.Event()
        self._writer: threading.Thread | None = None
        self.dropped_lines = 0
        """Lines that found the queue full, since the start."""

    def write(self, line: bytes) -> None:
        """Queue `line` (one or more whole lines) for writing. Never blocks; a full queue drops it."""
        if self._queued_bytes - self._done_bytes + len(line) > self._limit:
            self._unreported += 1
            self.dropped_lines += 1
            return
        if self._unreported:
            self._enqueue(_drop_note(self._unreported))
            self._unreported = 0
        self._enqueue(line)

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Write what is queued, for at most `timeout_s`, then leave the rest.

        The thread is a daemon thread: one that hangs in a write ends with the process.
        """
        if self._unreported:
            self._enqueue(_drop_note(self._unreported))
            self._unreported = 0
        self._closing.set()
        self._lines.put(None)
        if self._writer is not None:
            self._writer.join(timeout_s)

    def _enqueue(self, line: bytes) -> None:
        self._queued_bytes += len(line)
        self._lines.put(line)
        if self._writer is None and not self._closing.is_set():
            self._writer = threading.Thread(
                target=self._write_until_closed, name="swapd-console", daemon=True
            )
            self._writer.start()

    def _write_until_closed(self) -> None:
        open_for_more = True
        while open_for_more:
            line = self._lines.get()  # no time-out: an idle daemon must not wake up
            if line is None:
                return
            batch, size = [line], len(line)
            while size < BATCH_BYTES:
                try:
                    line = self._lines.get_nowait()
                except queue.Empty:
                    break
                if line is None:
                    open_for_more = False
                    break
                batch.append(line)
                size += len(line)
            self._write_all(b"".join(batch))
            self._done_bytes += size
            if open_for_more and size < BATCH_BYTES:
                self._closing.wait(LINGER_S)

    def _write_all(self, data: bytes) -> None:
        """Write `data`; what cannot be written (a reader that went away, a full disk) is given up."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Somebody who shares our terminal or pipe made it non-blocking.
                self._wait_until_writable()
            except OSError:
                return

    def _wait_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()


def _drop_note(lines: int) -> bytes:
    return f"[WARN] {lines} log lines were dropped because standard output was not read\n".encode()
