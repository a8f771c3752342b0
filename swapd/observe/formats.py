"""The forms in which log lines leave the daemon, beside the text for people.

`json` has an object a line. `journal` is the text with the priority in front that systemd's journal takes off
again (sd-daemon(3)). `auto` is `journal` where standard output leads into the journal, else text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from swapd.observe.logger import Level, LineFormat, LogEntry
from swapd.observe.text import encode
from swapd.observe.timestamps import utc_timestamp

_PRIORITIES: Final = {Level.DEBUG: 7, Level.INFO: 6, Level.WARN: 4, Level.ERROR: 3}  # syslog(3)
_UPSTREAM: Final = b"<6>"


class JSONFormat:
    """One object a line: `ts` (RFC 3339, UTC), `level`, `logger`, `msg`, and what else is known.

    Lines of models have their text as `msg` and the model's id as `model`; their level is not known.
    """

    def __init__(self, now_ns: Any) -> None:
        """`now_ns` is a clock, for the lines of models."""
        self._now_ns = now_ns

    def daemon_line(self, entry: LogEntry) -> bytes:
        known = {
            "ts": _milliseconds(entry.when_ns),
            "level": entry.level.name.lower(),
            "logger": "swapd",
            "msg": entry.message,
        }
        if entry.event:
            known["event"] = entry.event
        return _line({**entry.fields, **known})

    def upstream_lines(self, model: str, lines: list[bytes]) -> bytes:
        common = {"ts": _milliseconds(self._now_ns()), "logger": "upstream", "model": model}
        return b"".join(_line({**common, "msg": line.decode("utf-8", "replace")}) for line in lines)


class JournalFormat:
    """The lines of another form, each with its priority in front. The journal has a clock of its own."""

    def __init__(self, text: LineFormat) -> None:
        self._text = text

    def daemon_line(self, entry: LogEntry) -> bytes:
        return b"<%d>" % _PRIORITIES[entry.level] + self._text.daemon_line(entry)

    def upstream_lines(self, model: str, lines: list[bytes]) -> bytes:
        text = self._text.upstream_lines(model, lines)
        return b"".join(_UPSTREAM + line for line in text.splitlines(keepends=True))


def leads_to_journal(environ: Mapping[str, str], fd: int = 1) -> bool:
    """Whether systemd has connected `fd` to the journal (`JOURNAL_STREAM`, systemd.exec(5))."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def _milliseconds(when_ns: int) -> str:
    return f"{utc_timestamp(when_ns)[:19]}.{when_ns // 1_000_000 % 1000:03}Z"


def _line(values: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(values) + b"\n"
    except UnicodeEncodeError:  # a file name, say, that is no UTF-8
        return msgspec.json.encode({name: _clean(value) for name, value in values.items()}) + b"\n"


def _clean(value: Any) -> Any:
    return encode(value).decode("utf-8", "replace") if isinstance(value, str) else value
