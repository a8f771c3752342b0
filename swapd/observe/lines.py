"""From the chunks a pipe delivers to whole lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LONGEST_LINE_BYTES: Final = 16_384


class LineBuffer:
    """Collects chunks and hands on whole lines, all lines of one chunk in one call, without line feeds.

    A line longer than 16 KiB is handed on in pieces. What stands after the last line feed waits for the rest
    of its line, or for `flush`; whenever something waits, `unfinished` is called.
    """

    __slots__ = ("_emit", "_partial", "_unfinished", "lines_emitted")

    def __init__(self, emit: Callable[[list[bytes]], None], unfinished: Callable[[], None]) -> None:
        self._emit = emit
        self._unfinished = unfinished
        self._partial = b""
        self.lines_emitted = 0
        """Ever; while it stays the same, a partial line is still the same line."""

    @property
    def holds_partial_line(self) -> bool:
        return bool(self._partial)

    def feed(self, chunk: bytes) -> None:
        *lines, rest = (self._partial + chunk).split(b"\n")
        if any(len(line) > LONGEST_LINE_BYTES for line in lines):
            lines = [piece for line in lines for piece in _pieces(line)]
        while len(rest) > LONGEST_LINE_BYTES:
            lines.append(rest[:LONGEST_LINE_BYTES])
            rest = rest[LONGEST_LINE_BYTES:]
        self._partial = rest
        if lines:
            self._hand_on([line.removesuffix(b"\r") for line in lines])
        if rest:
            self._unfinished()

    def flush(self) -> None:
        """Hand on the partial line as it is. What follows it will count as a line of its own."""
        if self._partial:
            partial, self._partial = self._partial, b""
            self._hand_on([partial])

    def _hand_on(self, lines: list[bytes]) -> None:
        self.lines_emitted += len(lines)
        self._emit(lines)


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST_LINE_BYTES:
        return [line]
    return [line[i : i + LONGEST_LINE_BYTES] for i in range(0, len(line), LONGEST_LINE_BYTES)]
