"""What the README shows is true of what stands beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swapd.config import loads

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


def test_its_configuration_is_valid_and_has_no_warning() -> None:
    [text] = re.findall(r"^```yaml[^\n]*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    loaded = loads(text)
    assert loaded.problems == ()
    assert loaded.config is not None
    assert len(loaded.config.models) == 2


def test_its_make_commands_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make (demo|check|test|bench|\w+(?=`))", README))
    assert {"demo", "check", "test", "bench"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_there_is_one_place_for_the_figures() -> None:
    assert README.count("<!-- bench:begin -->") == README.count("<!-- bench:end -->") == 1
