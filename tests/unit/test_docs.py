"""What the documentation says is so: its configurations, its tables, its links."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from swapd.cli.errors import ExitCode
from swapd.config import loads
from tests.documents import PAGES, ROOT, Block, blocks, name

LANGUAGES = {"yaml", "sh", "python", "ini", "json", "nginx", "text", "mermaid"}
COMMENTS = re.compile(r"not run: .{10,}|not a configuration of swapd|in the background")
ENVIRONMENT = {"HOUSE_KEY": "0123", "GUEST_KEY": "4567"}

CONFIGURATIONS = [
    pytest.param(block, id=f"{name(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if block.language == "yaml" and not block.foreign
]


def page(path: str) -> str:
    return (ROOT / "docs" / path).read_text()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_block_says_what_it_is_and_why_it_is_not_run(path: Path) -> None:
    found = list(blocks(path))
    assert len(found) == path.read_text().count("\n```") // 2
    for block in found:
        assert block.language in LANGUAGES, block
        if block.language in ("sh", "yaml") and block.comment:
            assert COMMENTS.fullmatch(block.comment), block


@pytest.mark.parametrize("block", CONFIGURATIONS)
def test_every_configuration_passes_the_check(block: Block) -> None:
    loaded = loads(block.text, environ=ENVIRONMENT)
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config is not None


def test_every_json_is_json() -> None:
    for path in PAGES:
        for block in blocks(path):
            if block.language == "json":
                json.loads(block.text)


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = page("troubleshooting.md").partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(ExitCode)


def test_the_extras_to_install_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| `(\w+)` \| .+ \|$", page("install.md"), re.MULTILINE)
    assert set(rows) == set(project["optional-dependencies"])


def test_the_two_machines_of_the_page_are_those_of_the_examples() -> None:
    files = {block.file: block.text for block in blocks(ROOT / "docs" / "recipes" / "machines.md")}
    for example in (ROOT / "examples" / "two-machines").iterdir():
        assert files[example.name] == example.read_text()


def test_the_site_is_built_without_a_complaint(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path / "site"),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    # And it needs nothing from elsewhere
    for built in (tmp_path / "site").rglob("*.html"):
        assert not re.findall(
            r'<(?:script|link)[^>]+(?:src|href)="(?:https?:)?//(?!.*canonical)', built.read_text()
        )
