"""The blocks of code in README and docs/, with what is said about running them.

A block says in an HTML comment right above it why it is not run, or how:

    <!-- not run: REASON -->                it cannot be run here
    <!-- not a configuration of swapd -->   YAML of something else
    <!-- in the background -->              it runs until it is stopped; what follows talks to it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))

_BLOCK = re.compile(
    r"^(?:<!-- (?P<comment>[^\n]*?) -->\n)?```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@frozen
class Block:
    """A fenced block. `language` is the first word of its info string, `file` the title, if it has one;
    `comment` what stands right above it."""

    language: str
    file: str
    comment: str
    text: str

    @property
    def not_run(self) -> str:
        """Why it is not run; nothing if it is."""
        return self.comment.removeprefix("not run: ") if self.comment.startswith("not run: ") else ""

    @property
    def in_the_background(self) -> bool:
        return self.comment == "in the background"

    @property
    def foreign(self) -> bool:
        return self.comment == "not a configuration of swapd"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for match in _BLOCK.finditer(page.read_text()):
        language, _, attributes = match["info"].partition(" ")
        title = re.search(r'title="([^"]*)"', attributes)
        yield Block(language, title[1] if title else "", match["comment"] or "", match["text"])


def name(page: Path) -> str:
    """How a page is called in the names of tests."""
    return str(page.relative_to(ROOT))
