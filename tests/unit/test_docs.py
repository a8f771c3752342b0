"""What the documentation says is so: its configurations, its tables, its links."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swapd.cli.errors import ExitCode
from swapd.config import loads
from swapd.http.api.routes import ADMIN_ONLY, NO_KEY_NEEDED
from swapd.http.api.routes import ROUTES as API_ROUTES
from swapd.http.errors import CASES
from swapd.http.proxy.ollama.api import ROUTES as OLLAMA_ROUTES
from swapd.http.proxy.routes import MODEL_ROUTES
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


def test_the_error_codes_are_those_of_the_code_each_with_its_status() -> None:
    table = page("troubleshooting.md").partition("## Codes in answers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| .{10,} \| .{10,} \|$", table, re.MULTILINE)
    assert {code: int(status) for code, status in rows} == {code: case.status for code, case in CASES.items()}
    assert len(rows) == len(CASES)


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = page("troubleshooting.md").partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == sorted(ExitCode)


def _routes(text: str) -> set[tuple[str, str]]:
    found = re.findall(r"`(GET|POST|PUT|DELETE) (/[^`\s]*)`", text)
    return {(method, re.sub(r"\{[^/]*\}$", "{}", path)) for method, path in found}


def _section(text: str, title: str) -> str:
    return text.partition(f"## {title}")[2].partition("\n## ")[0]


def test_the_api_page_has_every_route_and_no_other() -> None:
    text = page("api.md")
    models = {
        (method, path) for path, methods in MODEL_ROUTES.items() for method in methods if method != "HEAD"
    }
    assert _routes(_section(text, "For models")) == models
    managing = {
        (method, re.sub(r"\{[^/]*\}$", "{}", path))
        for path, handlers in API_ROUTES.items()
        for method in handlers
        if method in ("GET", "POST", "PUT", "DELETE")
    }
    session = {(method, "/api/session") for method in ("GET", "POST", "DELETE")}
    assert _routes(_section(text, "For looking at it and managing it")) == managing | session
    ollama = re.findall(r"`(?:\w+ )?(/api/\w+)`", _section(text, "For Ollama's clients"))
    assert set(ollama) == {path for path in OLLAMA_ROUTES if path.startswith("/api/")}


def test_the_api_page_says_who_may_ask() -> None:
    rows = re.findall(r"^\| (.+?) \| (any key|admin|open) \|", page("api.md"), re.MULTILINE)
    said = {(method, path): who for cell, who in rows for method, path in _routes(cell)}
    for path in API_ROUTES:
        shape = re.sub(r"\{[^/]*\}$", "{}", path)
        expected = "admin" if path in ADMIN_ONLY else "open" if path in NO_KEY_NEEDED else "any key"
        for (_, documented), who in said.items():
            if documented == shape:
                assert who == expected, path


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
