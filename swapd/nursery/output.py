"""Reading what a process writes, always and at once.

A child blocks when a pipe is full, and a model server that blocks in a log line serves nobody. So the
pipes are emptied no matter who looks at the log, and the sink they are emptied into never blocks.
"""

from __future__ import annotations

import os

import trio

from swapd.nursery.launcher import OutputSink

CHUNK = 65536
"""Bytes read per pipe and pass of the event loop: what a pipe holds by default. A child that floods its
output gets this much of every pass and leaves the rest to everybody else."""

_TAIL = 2048

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}


class OutputDrain:
    """The read ends of a child's stdout and stderr.

    The mutable state is which of the two are still open: each is closed at its end of file, both by
    `close`.
    """

    def __init__(self, stdout: int, stderr: int, sink: OutputSink) -> None:
        self._open = {stdout: False, stderr: True}
        self._sink = sink
        self._stderr = StderrTail()
        for descriptor in self._open:
            os.set_blocking(descriptor, False)

    @property
    def stderr_tail(self) -> str:
        return self._stderr.text

    async def run(self) -> None:
        """Pass everything on until both pipes have ended. May be cancelled and called again, without
        losing a byte."""
        async with trio.open_nursery() as nursery:
            for descriptor in self._open:
                nursery.start_soon(self._run_one, descriptor)

    async def finish(self, limit_s: float) -> None:
        """Read what is left, for at most `limit_s` seconds, then close: a process that nobody can kill
        may hold the write end for ever."""
        with trio.move_on_after(limit_s):
            await self.run()
        self.close()

    def close(self) -> None:
        for descriptor in list(self._open):
            self._close(descriptor)

    async def _run_one(self, descriptor: int) -> None:
        is_stderr = self._open[descriptor]
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                chunk = os.read(descriptor, CHUNK)
            except BlockingIOError:
                continue
            if not chunk:
                self._close(descriptor)
                return
            if is_stderr:
                self._stderr.feed(chunk)
            self._sink(chunk, is_stderr)

    def _close(self, descriptor: int) -> None:
        del self._open[descriptor]
        os.close(descriptor)


class StderrTail:
    """The last lines a process wrote to stderr, kept for the message about its end."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._tail += chunk
        # Twice the limit, so that the cut at a line start has something to choose from.
        if len(self._tail) > 2 * _TAIL:
            del self._tail[: -2 * _TAIL]

    @property
    def text(self) -> str:
        """At most 2 KiB of UTF-8, from a line start where possible; control characters are escaped as
        `\\xNN`, line feeds between lines stay, invalid bytes are replaced."""
        text = self._tail.decode("utf-8", "replace").strip("\n").translate(_ESCAPES)
        encoded = text.encode()
        if len(encoded) <= _TAIL:
            return text
        kept = encoded[-_TAIL:]
        if encoded[-_TAIL - 1 : -_TAIL] != b"\n":
            _, _, whole_lines = kept.partition(b"\n")
            kept = whole_lines or kept
        return kept.decode("utf-8", "ignore")
