"""The reference page is made from the declarations, current, and whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from swapd.config import loads
from swapd.config.codes import ADVICE, ERRORS, WARNINGS
from swapd.config.configuration import RootKeys
from swapd.config.declare import Key, Section, keys_of, load_keys
from swapd.config.kinds import ListOf, MapOf
from swapd.config.names import ApiKeyItem, ApiKeyKeys
from swapd.config.nodes import Mapping
from swapd.config.problems import ProblemLog
from swapd.config.reference import reference
from swapd.config.sources import SourceText
from swapd.config.yaml_reader import parse

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


def test_the_page_is_current() -> None:
    """If not: python -m swapd.config.reference docs/configuration.md"""
    assert reference() == PAGE


def all_keys(section: type[Any] = RootKeys, path: str = "") -> list[tuple[str, type[Any], Key]]:
    """Every key with its path and the section it is in."""
    found: list[tuple[str, type[Any], Key]] = []
    for name, (_, declared) in keys_of(section).items():
        found.append((f"{path}{name}", section, declared))
        kind: Any = declared.kind
        while isinstance(kind, (MapOf, ListOf)):
            kind = kind.item
        if isinstance(kind, Section):
            found += all_keys(kind.of, f"{path}{name}.")
        if isinstance(kind, ApiKeyItem):
            found += all_keys(ApiKeyKeys, f"{path}{name}.")
    return found


@pytest.mark.parametrize(("path", "section", "declared"), all_keys(), ids=lambda value: str(value)[:40])
def test_a_key_is_explained(path: str, section: type[Any], declared: Key) -> None:
    # Given a key as it is declared, then its help is a sentence
    assert declared.help.endswith((".", ".)")), path
    assert declared.help[0].isupper() or declared.help[0] in "`(", path

    # And its example, where it has one, is a valid value of it
    if declared.example:
        text = f"{declared.name}: {declared.example}"
        log = ProblemLog()
        node = parse(SourceText("<example>", text, text), log)
        assert isinstance(node, Mapping)
        assert declared.name in {keys_of(section)[declared.name][1].name}
        assert load_keys(section, node, (), log)
        assert log.result() == (), path


def test_many_keys_have_an_example() -> None:
    assert sum(1 for _, _, declared in all_keys() if declared.example) >= 30


def test_every_row_of_every_table_has_its_columns() -> None:
    # Given the tables, then no cell holds a bar that would end it
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert rows
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) in (3, 5), row


def test_links_lead_to_headings_of_the_page() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]*)\)", PAGE)
    assert len(links) > 20
    assert set(links) <= anchors


def test_every_code_is_listed() -> None:
    for code in (*ERRORS, *WARNINGS, *ADVICE):
        assert f"| `{code}` |" in PAGE


def test_the_yaml_of_the_page_loads() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        assert loads(block, environ={}).problems == (), block


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md"])
def test_examples_that_are_mentioned_exist(name: str) -> None:
    root = Path(__file__).parents[3]
    for path in re.findall(r"examples/[\w-]+\.yaml", (root / name).read_text()):
        assert (root / path).is_file(), path
