"""What client commands print: tables, JSON, and the spellings of sizes, durations and times.

The same text goes to a terminal and into a pipe, in colour only on a terminal, where tables are cut to its
width too. The tables are our own, because `rich` takes 65 ms to import, which is half of what a command may
take altogether; commands that stay for longer use it.

Names, log lines and error texts come from anywhere and may hold what terminals obey. `printable` makes them
harmless; tables do so by themselves.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO

UNKNOWN: Final = "—"

_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STATE_STYLES: Final = {"ready": "green", "starting": "yellow", "stopping": "yellow", "stopped": "dim"}
_GAP: Final = "  "
_SHORTEST_CUT: Final = 8
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")


class Styled(NamedTuple):
    """A text and how it looks in colour; `style` is one of the names above, or empty."""

    text: str
    style: str = ""


Cell = str | Styled


class Column(NamedTuple):
    title: str
    right: bool = False
    """Numbers stand to the right."""
    cut: bool = False
    """May be shortened on a terminal that is too narrow."""


class Output:
    """Where a command's results go. Diagnostics go to standard error, which `note` writes."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        colour: str = "auto",
        stream: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`colour` is `auto`, `always` or `never`; auto means on a terminal, unless NO_COLOR is set."""
        self.as_json = as_json
        self.quiet = quiet
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty() and environ.get("TERM") != "dumb"
        self.in_colour = colour == "always" or (
            colour == "auto" and self.is_terminal and not environ.get("NO_COLOR")
        )

    def line(self, *parts: Cell) -> None:
        """One line of text."""
        print("".join(map(self.styled, parts)), file=self.stream, flush=True)

    def done(self, *parts: Cell) -> None:
        """What an action has come to; not with `--quiet`, and not where JSON is expected."""
        if not self.quiet and not self.as_json:
            self.line(*parts)

    def document(self, value: Any) -> None:
        """One JSON document."""
        print(json.dumps(value, indent=2, ensure_ascii=False), file=self.stream)

    def record(self, value: Any) -> None:
        """One JSON document of a stream: JSON Lines."""
        print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), file=self.stream, flush=True)

    def note(self, text: str) -> None:
        """A diagnostic; not with `--quiet`."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """Rows below titles, in aligned columns."""
        for line in self.table_lines(columns, rows):
            print(line, file=self.stream)
        self.stream.flush()

    def table_lines(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
        cells = [[_as_styled(cell) for cell in row] for row in rows]
        titles = [Styled(column.title, "bold") for column in columns]
        widths = [max(width(row[n].text) for row in [titles, *cells]) for n in range(len(columns))]
        if self.is_terminal:
            _narrow(columns, widths)
        return [self._row(columns, widths, row) for row in [titles, *cells]]

    def _row(self, columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Styled]) -> str:
        words = []
        for column, limit, cell in zip(columns, widths, cells, strict=True):
            text = shortened(cell.text, limit)
            blanks = " " * (limit - width(text))
            word = self.styled(Styled(text, cell.style))
            words.append(blanks + word if column.right else word + blanks)
        return _GAP.join(words).rstrip()

    def styled(self, cell: Cell) -> str:
        """A text as it is to be printed."""
        if isinstance(cell, str):
            return cell
        if not self.in_colour or not cell.style:
            return cell.text
        return f"\x1b[{_STYLES[cell.style]}m{cell.text}\x1b[0m"


def _as_styled(cell: Cell) -> Styled:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Styled(printable(text), style)


def _narrow(columns: Sequence[Column], widths: list[int]) -> None:
    """Take from the widest columns that may be cut until the table fits the terminal."""
    import shutil

    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - shutil.get_terminal_size().columns
    while excess > 0:
        candidates = [n for n, column in enumerate(columns) if column.cut and widths[n] > _SHORTEST_CUT]
        if not candidates:
            return
        widths[max(candidates, key=widths.__getitem__)] -= 1
        excess -= 1


def width(text: str) -> int:
    """How many places of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, limit: int) -> str:
    """The text in at most so many places, with a mark where something is missing."""
    if width(text) <= limit:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > limit - 1:
            break
        kept += character
    return kept + "…"


def printable(text: str) -> str:
    """The text with what terminals obey, or what turns the direction of writing, written out."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def plain(text: str) -> str:
    """The text without colours and the other things that escape sequences do."""
    return _ESCAPES.sub("", text)


def state(text: str) -> Cell:
    """A model's state in the colour that is usual for it."""
    return Styled(text, _STATE_STYLES.get(text, "")) if text else UNKNOWN


def size(mebibytes: float | None) -> str:
    """An amount of memory: `512 MiB`, `7.4 GiB`."""
    if mebibytes is None:
        return UNKNOWN
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def duration(seconds: float | None) -> str:
    """`0.4s`, `42s`, `1m05s`, `1h02m`, `3d04h`."""
    if seconds is None:
        return UNKNOWN
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def moment(timestamp: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None if there is none."""
    if not timestamp:
        return None
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp()


def local_time(timestamp: str | None) -> str:
    """An RFC 3339 time as ISO 8601 in the time of this place, to the second."""
    if not timestamp:
        return UNKNOWN
    from datetime import datetime

    return datetime.fromisoformat(timestamp).astimezone().isoformat(timespec="seconds")
