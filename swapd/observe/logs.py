"""All logs of the daemon: who writes where, and what of it reaches standard output.

Three rings collect lines of several sources: `proxy` (the daemon's own lines), `upstream` (what all model
processes print) and `mux` (what goes to standard output, so the one the setting `logToStdout` decides on).
Beside them each model has a ring of its own, which outlives its processes.

The rings `proxy`, `upstream` and those of the models always get everything. In `mux` and on standard output
the processes' output is cut into whole lines and marked with the model, so that lines of several models can
stand next to each other; in the other rings it stands byte for byte as it was printed.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import trio
from msgspec import Struct

from swapd.observe.console import Console
from swapd.observe.formats import JournalFormat, JSONFormat, leads_to_journal
from swapd.observe.lines import LineBuffer
from swapd.observe.logger import Level, LogEntry, Logger, TextFormat
from swapd.observe.ring import DEFAULT_RING_BYTES, LogRing
from swapd.observe.text import escape_control
from swapd.observe.timestamps import timestamp_format

if TYPE_CHECKING:
    from collections.abc import Callable

    from swapd.config import Config
    from swapd.observe.logger import LineFormat

PARTIAL_LINE_S: Final = 0.2
"""How long `mux` and standard output wait for the rest of a line that a process has begun to print."""


class LogSettings(Struct, frozen=True):
    """What of the configuration concerns the logs; all of it can change while the daemon runs.

    `to_stdout` is one of "proxy", "upstream", "both" and "none". `form` is that of the lines on standard
    output: "text", "json", "journal", or "auto".
    """

    level: Level = Level.INFO
    time_format: str = ""
    to_stdout: str = "proxy"
    form: str = "auto"
    ring_bytes: int = DEFAULT_RING_BYTES

    @classmethod
    def from_config(cls, config: Config) -> LogSettings:
        return cls(
            level=Level.named(config.log_level),
            time_format=config.log_time_format,
            to_stdout=config.log_to_stdout,
            form=config.log_format,
            ring_bytes=config.log_buffer,
        )


class ModelLog(LogRing):
    """The ring of one model: what is written here also reaches `upstream` and, if it is set so, `mux`.

    Bytes written with `write` count as standard output; `write_stderr` keeps the two apart, so that a line
    begun on one is not continued with the other.
    """

    __slots__ = ("_all_models", "_stderr_lines", "_stdout_lines")

    def __init__(self, size: int, all_models: LogRing) -> None:
        super().__init__(size)
        self._all_models = all_models
        self._stdout_lines: LineBuffer | None = None  # None: nobody wants whole lines
        self._stderr_lines: LineBuffer | None = None

    def write(self, data: bytes) -> None:
        super().write(data)
        self._all_models.write(data)
        if self._stdout_lines is not None:
            self._stdout_lines.feed(data)

    def write_stderr(self, data: bytes) -> None:
        super().write(data)
        self._all_models.write(data)
        if self._stderr_lines is not None:
            self._stderr_lines.feed(data)

    def sink(self, chunk: bytes, is_stderr: bool) -> None:
        """`write` and `write_stderr` in the shape in which a launcher wants them."""
        (self.write_stderr if is_stderr else self.write)(chunk)

    def hand_on_lines(self, emit: Callable[[list[bytes]], None], unfinished: Callable[[], None]) -> None:
        """From now on give whole lines to `emit` too; see `LineBuffer` for the two functions."""
        self.hand_on_nothing()
        self._stdout_lines = LineBuffer(emit, unfinished)
        self._stderr_lines = LineBuffer(emit, unfinished)

    def hand_on_nothing(self) -> None:
        """End what `hand_on_lines` began; a line that was begun is given out first."""
        for buffer in self.partial_lines():
            buffer.flush()
        self._stdout_lines = self._stderr_lines = None

    def partial_lines(self) -> list[LineBuffer]:
        """The buffers that hold a line whose end has not come yet."""
        buffers = (self._stdout_lines, self._stderr_lines)
        return [buffer for buffer in buffers if buffer is not None and buffer.holds_partial_line]


class Logs:
    """Every log of the daemon. `proxy` writes the daemon's lines, `upstream(model)` takes a model's output.

    `rings` holds the combined rings by name: "proxy", "upstream", "mux". The rest of the mutable state is the
    settings (changed by `apply`) and the rings of the models, made when they are first asked for. Without a
    `console` nothing goes to standard output, everything else is the same.
    """

    def __init__(self, settings: LogSettings, console: Console | None = None) -> None:
        self._settings = settings
        self._console = console
        self._set_formats(settings)
        self._proxy_in_mux = settings.to_stdout in ("proxy", "both")
        self._models: dict[str, ModelLog] = {}
        self._ended = False
        self._unfinished = trio.Event()  # set when some model may hold a partial line
        self.rings = {name: LogRing(settings.ring_bytes) for name in ("proxy", "upstream", "mux")}
        self.proxy = Logger(self._write_entry, settings.level)

    @property
    def settings(self) -> LogSettings:
        return self._settings

    def upstream(self, model: str) -> ModelLog:
        """The log of that model, the same object each time; it survives the model's processes."""
        log = self._models.get(model)
        if log is None:
            log = self._models[model] = ModelLog(self._settings.ring_bytes, self.rings["upstream"])
            if self._upstream_in_mux:
                self._follow(model, log)
            if self._ended:
                log.end_subscriptions()
        return log

    def apply(self, settings: LogSettings) -> None:
        """Change level, time format, destination and ring sizes; what the rings hold stays."""
        self._settings = settings
        self._set_formats(settings)
        self._proxy_in_mux = settings.to_stdout in ("proxy", "both")
        self.proxy.set_level(settings.level)
        for ring in self._all_rings():
            if ring.size != settings.ring_bytes:
                ring.resize(settings.ring_bytes)
        for model, log in self._models.items():
            if self._upstream_in_mux:
                self._follow(model, log)
            else:
                log.hand_on_nothing()

    async def flush_partial_lines(self) -> None:
        """Let no begun line wait longer than it must for the rest of it. Runs until it is cancelled.

        A line goes to `mux` as it stands when 0.2 to 0.4 s have brought no end of it. Sleeps without a
        time-out while no line is open.
        """
        while True:
            await self._unfinished.wait()
            self._unfinished = trio.Event()
            begun = {buffer: buffer.lines_emitted for buffer in self._partial_lines()}
            await trio.sleep(PARTIAL_LINE_S)
            for buffer, lines_emitted in begun.items():
                if buffer.lines_emitted == lines_emitted:
                    buffer.flush()
            if self._partial_lines():
                self._unfinished.set()

    def end_streams(self) -> None:
        """Let everybody who follows a log finish, now and in future: the daemon is about to drain."""
        self._ended = True
        for ring in self._all_rings():
            ring.end_subscriptions()

    def close(self) -> None:
        """Write out what is left, waiting for standard output for a fraction of a second at most."""
        for buffer in self._partial_lines():
            buffer.flush()
        if self._console is not None:
            self._console.close()

    @property
    def _upstream_in_mux(self) -> bool:
        return self._settings.to_stdout in ("upstream", "both")

    def _all_rings(self) -> list[LogRing]:
        return [*self.rings.values(), *self._models.values()]

    def _partial_lines(self) -> list[LineBuffer]:
        return [buffer for log in self._models.values() for buffer in log.partial_lines()]

    def _write_entry(self, entry: LogEntry) -> None:
        line = self._format.daemon_line(entry)
        self.rings["proxy"].write(line)
        if self._proxy_in_mux:
            self._write_mux(line, line if self._outside is None else self._outside.daemon_line(entry))

    def _follow(self, model: str, log: ModelLog) -> None:
        name = escape_control(model)

        def write(lines: list[bytes]) -> None:
            text = self._format.upstream_lines(name, lines)
            self._write_mux(
                text, text if self._outside is None else self._outside.upstream_lines(name, lines)
            )

        log.hand_on_lines(write, lambda: self._unfinished.set())

    def _set_formats(self, settings: LogSettings) -> None:
        self._format: LineFormat = TextFormat(timestamp_format(settings.time_format))
        self._outside: LineFormat | None = None  # on standard output, where that differs from the rings
        form = settings.form
        if form == "auto":
            form = "journal" if leads_to_journal(os.environ) else "text"
        if form == "json":
            self._outside = JSONFormat(time.time_ns)
        elif form == "journal":
            self._outside = JournalFormat(TextFormat())

    def _write_mux(self, text: bytes, outside: bytes) -> None:
        self.rings["mux"].write(text)
        if self._console is not None:
            self._console.write(outside)
