"""The daemon's own log lines: levels, events, and the one place where a line gets its shape.

A line is written once, by the layer that knows what it means, as a sentence for people. Beside the sentence
it may carry a fixed event name and fields for machines; text lines do not show them, other formats will.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from swapd.observe.text import encode, escape_message
from swapd.observe.timestamps import Timestamp

FieldValue = str | int | float | bool | None


class Level(enum.IntEnum):
    """How important a line is; lines below the logger's threshold are not written."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40

    @classmethod
    def named(cls, name: str) -> Level:
        """The level that the configuration calls `name` ("debug", "info", "warn", "error")."""
        return cls[name.upper()]


class LogEntry(Struct, eq=False):
    """One line before it has a shape. `when_ns` is wall-clock time in nanoseconds since the epoch."""

    level: Level
    message: str
    event: str
    fields: Mapping[str, FieldValue]
    when_ns: int


class LineFormat(Protocol):
    """How lines look where they leave the daemon. The rings always hold the text form."""

    def daemon_line(self, entry: LogEntry) -> bytes:
        """One line of the daemon's own, with its line feed."""

    def upstream_lines(self, model: str, lines: list[bytes]) -> bytes:
        """Whole lines (without line feeds) that the process of `model` printed, ready to be written."""


class TextFormat:
    """`[<timestamp> ][LEVEL] message` for the daemon, `model | line` for the processes."""

    def __init__(self, timestamp: Timestamp | None = None) -> None:
        self._timestamp = timestamp
        self._heads = {level: f"[{level.name}] " for level in Level}

    def daemon_line(self, entry: LogEntry) -> bytes:
        head, message = self._heads[entry.level], entry.message
        if self._timestamp is not None:
            head = f"{self._timestamp(entry.when_ns)} {head}"
        if not message.isprintable():
            message = escape_message(message)
        return f"{head}{message}\n".encode("utf-8", "backslashreplace")

    def upstream_lines(self, model: str, lines: list[bytes]) -> bytes:
        prefix = encode(f"{model} | ")
        text = b"".join([prefix + line + b"\n" for line in lines])
        return text if text.isascii() else text.decode("utf-8", "replace").encode()


class Logger:
    """Writes the daemon's lines. Costs one comparison for a line whose level is off.

    `log.info("model owl is ready after 1.2 s", event="model.ready", model="owl")`. Where composing the
    message is itself expensive, ask `log.enabled(Level.DEBUG)` first.
    """

    def __init__(self, write: Callable[[LogEntry], None], level: Level = Level.INFO) -> None:
        self._write = write
        self._configured = level
        self._threshold = level

    @property
    def level(self) -> Level:
        """The level in force, with `toggle_debug` taken into account."""
        return self._threshold

    def set_level(self, level: Level) -> None:
        """Write lines of `level` and above from now on; ends what `toggle_debug` began."""
        self._configured = self._threshold = level

    def toggle_debug(self) -> Level:
        """Switch to debug, or back to the configured level; returns the level now in force.

        Where debug is the configured level, the other one is info.
        """
        usual = Level.INFO if self._configured is Level.DEBUG else self._configured
        self._threshold = usual if self._threshold is Level.DEBUG else Level.DEBUG
        return self._threshold

    def enabled(self, level: Level) -> bool:
        return level >= self._threshold

    def debug(self, message: str, *, event: str = "", **fields: FieldValue) -> None:
        if self._threshold <= Level.DEBUG:
            self._write(LogEntry(Level.DEBUG, message, event, fields, time.time_ns()))

    def info(self, message: str, *, event: str = "", **fields: FieldValue) -> None:
        if self._threshold <= Level.INFO:
            self._write(LogEntry(Level.INFO, message, event, fields, time.time_ns()))

    def warn(self, message: str, *, event: str = "", **fields: FieldValue) -> None:
        if self._threshold <= Level.WARN:
            self._write(LogEntry(Level.WARN, message, event, fields, time.time_ns()))

    def error(self, message: str, *, event: str = "", **fields: FieldValue) -> None:
        if self._threshold <= Level.ERROR:
            self._write(LogEntry(Level.ERROR, message, event, fields, time.time_ns()))
