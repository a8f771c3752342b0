"""The page of the commands is made from the commands, and current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swapd.cli.main import COMMANDS
from swapd.cli.reference import parser_of, reference

PAGE = Path(__file__).parents[3] / "docs" / "commands.md"


def test_the_page_is_current() -> None:
    """If not: python -m swapd.cli.reference docs/commands.md"""
    assert reference() == PAGE.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_every_flag_is_on_it(command: str) -> None:
    text = PAGE.read_text()
    assert f"\n## swapd {command}\n" in text
    _, what, flags = parser_of(command).described()
    assert what.endswith(".")
    for spelling, help in flags:
        assert help
        if spelling not in ("--help", "--debug"):
            assert re.search(
                rf"^\| `{re.escape(spelling)}` \| .+ \|$", text.replace("\\|", "|"), re.MULTILINE
            )
