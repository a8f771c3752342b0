"""Everything that docs/testing.md shows is done, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import frozen

from swapd.testing.llama import wheel_problem
from swapd.testing.upstream.settings import HELP, Settings, parse_arguments

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class Snippet:
    """A block of the page. `file` is the last file name in the paragraph before it, if there is one."""

    language: str
    text: str
    file: str


def snippets(*languages: str) -> list[Snippet]:
    found = []
    text = PAGE.read_text()
    for match in _FENCE.finditer(text):
        paragraph = text[: match.start()].rstrip().rpartition("\n\n")[2]
        files = re.findall(r"`([\w.-]+\.(?:py|yaml|ini))`", paragraph)
        if match[1] in languages:
            found.append(Snippet(match[1], match[2], files[-1] if files else ""))
    return found


SCRIPTS = [snippet.text for snippet in snippets("sh") if not snippet.text.startswith("pip install ")]
"""Without the installation, which has taken place."""


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory, as somebody would who has the virtual environment active."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SWAPD_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=directory,
        env={**own, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )


def test_given_the_pytest_snippets_when_put_into_files_then_all_tests_pass(tmp_path: Path) -> None:
    if problem := wheel_problem():
        pytest.skip(problem)
    # Given a directory with what the page shows
    tests = 0
    for number, snippet in enumerate(snippets("python", "ini", "yaml")):
        (tmp_path / (snippet.file or f"test_{number}.py")).write_text(snippet.text)
        tests += len(re.findall(r"^(?:async )?def test_", snippet.text, re.MULTILINE))
    # When pytest runs there
    done = run(tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    # Then every test passes
    assert done.returncode == 0, done.stdout
    assert f"{tests} passed" in done.stdout
    assert tests >= 5


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_given_a_shell_snippet_when_pasted_then_it_works(tmp_path: Path, number: int) -> None:
    if problem := wheel_problem():
        pytest.skip(problem)
    script = SCRIPTS[number]
    done = run(tmp_path, "bash", "-euc", script)
    assert done.returncode == 0, done.stdout
    assert '"choices"' in done.stdout or '"embedding"' in done.stdout


def test_given_the_rehearsal_when_checked_then_it_is_valid(tmp_path: Path) -> None:
    [rehearsal] = [snippet for snippet in snippets("yaml") if snippet.file == "rehearsal.yaml"]
    (tmp_path / "rehearsal.yaml").write_text(rehearsal.text)
    done = run(tmp_path, "swapd", "check", "rehearsal.yaml")
    assert done.returncode == 0, done.stdout
    # And each of its commands is one that the fake server understands
    for command in re.findall(r"swapd.testing.upstream (.*)", rehearsal.text):
        settings = parse_arguments(command.replace("${PORT}", "1").split())
        assert settings.load_s == 20 or settings.ignore_sigterm or settings.exit_signal == signal.SIGKILL


def test_every_flag_the_page_mentions_is_one_and_every_fault_is_mentioned() -> None:
    text = PAGE.read_text()
    flags = {"--" + name.removesuffix("_s").removesuffix("_bytes").replace("_", "-") for name in HELP}
    table = set(
        re.findall(r"`(--[\w-]+)`", text.partition("These are the faults")[2].partition("## In pytest")[0])
    )
    assert table <= flags
    # What is no fault: where it listens, what it says, and what it reports
    plain = {
        "--host",
        "--port",
        "--model",
        "--tokens",
        "--cached",
        "--draft",
        "--draft-accepted",
        "--dimensions",
    }
    assert flags - plain == table
    assert set(HELP) == {name for name in vars(Settings) if not name.startswith("_") and name != "changed"}
