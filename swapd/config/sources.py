"""Where a configuration comes from, and how a place in its text is found again.

A `SourceText` holds one file twice: as the user wrote it, and as it was parsed, which differs where an
environment placeholder was replaced. Everything downstream keeps only character offsets into the parsed
text; lines and columns are worked out here, in the text the user sees, when a problem is reported.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field
from msgspec import Struct


class Sources(Struct, frozen=True):
    """The files to load, in order: `files` as given, then the `*.yml` and `*.yaml` files of `directory`."""

    files: tuple[Path, ...] = ()
    directory: Path | None = None


class Edit(Struct, frozen=True):
    """One replaced placeholder: where it stood in the written text, where its value stands in the parsed one.

    `variables` are the names it was made from with their plain values: one, or more when a value held a
    placeholder itself.
    """

    variables: tuple[tuple[str, str], ...]
    written_start: int
    written_end: int
    start: int
    end: int


class Trouble(Struct, frozen=True):
    """A placeholder that could not be replaced; the span is one of the parsed text."""

    code: str
    message: str
    hint: str
    start: int = 0
    end: int = 0


@define(eq=False)
class SourceText:
    """One configuration text. `edits` are ordered and do not overlap; without any, `text` is `written`.

    `alias_targets` are the offsets of anchored values that an alias refers to, `troubles` the placeholders
    that could not be replaced.
    """

    name: str
    written: str
    text: str
    edits: Sequence[Edit] = ()
    path: Path | None = None
    alias_targets: list[int] = field(factory=list)
    troubles: list[Trouble] = field(factory=list)
    _line_starts: list[int] | None = field(default=None, init=False)

    def written_offset(self, offset: int) -> int:
        """Where the character at `offset` of the parsed text stood in the text the user wrote.

        An offset inside a replaced value maps to the start of its placeholder, the end of the value to
        the end of the placeholder.
        """
        if not self.edits:
            return offset
        index = bisect_right(self.edits, offset, key=lambda edit: edit.start) - 1
        if index < 0:
            return offset
        edit = self.edits[index]
        if offset < edit.end:
            return edit.written_start
        return edit.written_end + (offset - edit.end)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1 and in characters, of an offset of the parsed text."""
        return self.written_position(self.written_offset(offset))

    def written_position(self, written: int) -> tuple[int, int]:
        """Line and column, both from 1, of an offset of the text as written."""
        starts = self.line_starts()
        line = bisect_right(starts, written) - 1
        return line + 1, written - starts[line] + 1

    def line(self, number: int) -> str:
        """The text of line `number` (from 1) as written, without its line break."""
        starts = self.line_starts()
        if not 1 <= number <= len(starts):
            return ""
        end = starts[number] if number < len(starts) else len(self.written)
        return self.written[starts[number - 1] : end].rstrip("\r\n")

    def variables(self) -> dict[str, str]:
        """The environment variables that were put into the text, with their plain values."""
        return dict(variable for edit in self.edits for variable in edit.variables)

    def line_starts(self) -> list[int]:
        if self._line_starts is None:
            starts = [0]
            written = self.written
            offset = written.find("\n")
            while offset != -1:
                starts.append(offset + 1)
                offset = written.find("\n", offset + 1)
            self._line_starts = starts
        return self._line_starts

    def edits_within(self, start: int, end: int) -> list[Edit]:
        """The replaced placeholders that overlap the span of the parsed text."""
        if not self.edits:
            return []
        return [edit for edit in self.edits if (edit.start < end and edit.end > start) or edit.start == start]
