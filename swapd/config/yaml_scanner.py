"""The YAML library's scanner with the tabs that libyaml takes.

Configurations in the field were read by parsers of the libyaml family, which let a tab stand wherever it
cannot be mistaken for indentation: behind a value, between a key and its value, before a comment, within
plain text. The library refuses all of these. Nothing else differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scanner import Scanner, ScannerError

_BREAKS = "\r\n\x85\u2028\u2029"
_LINE_END = "\0" + _BREAKS
_BLANKS = " \t"
_BLANKS_AND_BREAKS = _BLANKS + _BREAKS
_AFTER_MARKER = _BLANKS + _LINE_END


def yaml_events(text: str) -> Iterator[Any]:
    """The parser's events. Raises ruamel.yaml's YAMLError at the first thing that is not YAML."""
    events: Iterator[Any] = _yaml().parse(text)
    return events


def yaml_tokens(text: str) -> Iterator[Any]:
    """The scanner's tokens. Raises as `yaml_events`."""
    tokens: Iterator[Any] = _yaml().scan(text)
    return tokens


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = TabTakingScanner
    return yaml


class TabTakingScanner(Scanner):
    """Overrides the places where the library looks for blanks and does not count tabs among them."""

    def scan_to_next_token(self) -> None:
        reader = self.reader
        if reader.index == 0 and reader.peek() == "\ufeff":
            reader.forward()
        while True:
            # Where a key may begin, a tab would be indentation.
            blanks = _BLANKS if self.flow_level or not self.allow_simple_key else " "
            while reader.peek() in blanks:
                reader.forward()
            if reader.peek() == "#":
                while reader.peek() not in _LINE_END:
                    reader.forward()
            if not self.scan_line_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain_spaces(self, indent: int, start_mark: Any) -> list[str] | None:
        """What stands between two words of a plain scalar; None at the end of the document."""
        reader = self.reader
        length = 0
        while reader.peek(length) in _BLANKS:
            length += 1
        blanks: str = reader.prefix(length)
        reader.forward(length)
        if reader.peek() not in _BREAKS:
            return [blanks] if blanks else []
        first_break: str = self.scan_line_break()
        self.allow_simple_key = True
        breaks: list[str] = []
        while not self._is_at_document_marker():
            character = reader.peek()
            if character not in _BLANKS_AND_BREAKS:
                return [*self._folded(first_break, breaks), *breaks]
            if character in _BREAKS:
                breaks.append(self.scan_line_break())
                continue
            if character == "\t" and reader.column < indent:
                raise ScannerError(
                    "while scanning a plain scalar",
                    start_mark,
                    "found a tab character that violates indentation",
                    reader.get_mark(),
                )
            reader.forward()
        return None

    def scan_block_scalar_indicators(self, start_mark: Any) -> Any:
        """`+` or `-` and a digit behind `|` or `>`: to keep or strip (True, False), and the indentation."""
        reader = self.reader
        sign = reader.peek()
        length = 1 if sign in "+-" else 0
        if reader.peek(length) != "\t":
            return super().scan_block_scalar_indicators(start_mark)
        reader.forward(length)
        return (sign == "+" if length else None), None

    def scan_block_scalar_ignored_line(self, start_mark: Any) -> Any:
        """What follows `|` or `>` on its line: blanks, perhaps a comment."""
        reader = self.reader
        while reader.peek() == "\t" or (reader.peek() == " " and self._is_blank_to_the_tab()):
            reader.forward()
        return super().scan_block_scalar_ignored_line(start_mark)

    def _is_blank_to_the_tab(self) -> bool:
        """True when only blanks stand before a tab: then they are skipped with it."""
        length = 0
        while self.reader.peek(length) == " ":
            length += 1
        return bool(self.reader.peek(length) == "\t")

    def _is_at_document_marker(self) -> bool:
        reader = self.reader
        return bool(
            reader.column == 0 and reader.prefix(3) in ("---", "...") and reader.peek(3) in _AFTER_MARKER
        )

    @staticmethod
    def _folded(first_break: str, breaks: list[str]) -> list[str]:
        """A line break within plain text is a blank, unless more follow it."""
        if first_break != "\n":
            return [first_break]
        return [] if breaks else [" "]
