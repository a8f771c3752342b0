"""The package: built from a clone and from an sdist, the same each time, and working in an empty place."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from swapd.testing.llama import wheel_problem
from swapd.testing.ports import free_port
from tests.real.daemons import PATIENCE_S, until

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "swapd" / "http" / "static"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (STATIC / "index.html").exists(), reason="the web UI is not built: make ui"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone"),
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
]

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("SWAPD_", "PYTHON"))},
    "SOURCE_DATE_EPOCH": "1760000000",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def run(*command: str | Path, cwd: Path) -> str:
    """Run it, at most 150 s; its output. Fails with it when the command fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(sources: Path, directory: Path) -> list[Path]:
    """The sdist and, made from it, the wheel; as somebody would who packages."""
    run(sys.executable, "-m", "build", "--outdir", directory, sources, cwd=directory.parent)
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone without tags of what is committed here; with the built UI, so that no npm is needed."""
    directory = tmp_path_factory.mktemp("clone") / "swapd"
    run("git", "clone", "--quiet", "--no-tags", ROOT, directory, cwd=ROOT)
    shutil.copytree(STATIC, directory / "swapd" / "http" / "static")
    # What is not committed yet is packaged too: the test is of the sources as they are.
    for name in run("git", "ls-files", "--modified", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        target = directory / name
        target.unlink(missing_ok=True)
        if (ROOT / name).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    return directory


@pytest.fixture(scope="module")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(sdist, wheel), the wheel built from the sdist."""
    directory = tmp_path_factory.mktemp("built") / "dist"
    sdist, wheel = sorted(build(clone, directory), key=lambda path: path.suffix)
    return sdist, wheel


def test_given_a_clone_without_tags_then_version_and_commit_are_in_the_package(
    clone: Path, built: tuple[Path, Path]
) -> None:
    sdist, wheel = built
    commit = run("git", "rev-parse", "--short", "HEAD", cwd=clone).strip()
    # Then what git knows is in the wheel, though it was built from the sdist, where there is no git
    with zipfile.ZipFile(wheel) as archive:
        note = archive.read("swapd/_build.py").decode()
        names = archive.namelist()
    version = re.fullmatch(r"swapd-(.*)-py3-none-any\.whl", wheel.name)
    assert version is not None
    assert re.fullmatch(r"0\.1\.0\.dev\d+", version[1])
    assert f'VERSION = "{version[1]}"' in note
    assert f'COMMIT = "{commit}"' in note
    assert 'DATE = "2025-10-09T08:53:20Z"' in note
    # And the clone is as it was
    assert not (clone / "swapd" / "_build.py").exists()
    # And the sdist has what belongs to the sources, the wheel only what runs
    with tarfile.open(sdist) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}
    assert {"swapd", "ui", "tests", "docs", "examples", "packaging", "Makefile", "mkdocs.yml"} <= top
    assert {name.split("/")[0] for name in names} == {"swapd", f"swapd-{version[1]}.dist-info"}
    assert "swapd/http/static/index.html" in names
    assert "swapd/py.typed" in names


def test_given_one_date_when_built_twice_then_the_packages_are_the_same_to_the_byte(
    clone: Path, built: tuple[Path, Path], tmp_path: Path
) -> None:
    # Given another copy, at another place and with other times
    copy = tmp_path / "elsewhere"
    shutil.copytree(clone, copy, copy_function=shutil.copy)
    # When it is packaged
    again = build(copy, tmp_path / "dist")
    # Then
    assert [_digest(path) for path in sorted(built, key=str)] == [_digest(path) for path in again]


def _digest(path: Path) -> tuple[str, str]:
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an empty virtual environment into which the wheel was installed."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=ROOT)
    extra = "" if wheel_problem() else "[demo]"
    wheel = f"{built[1]}{extra}"
    run(venv / "bin" / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, cwd=venv)
    return venv / "bin"


@asynccontextmanager
async def demo(*command: str | Path, cwd: Path) -> AsyncIterator[str]:
    """Runs that demo, with an empty home; yields its address. At the end it is stopped, and must exit 0."""
    (cwd / "home").mkdir(exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    words = [*map(str, command), "demo", "--listen", address]
    process = await trio.lowlevel.open_process(
        words,
        cwd=cwd,
        env={"HOME": str(cwd / "home"), "XDG_RUNTIME_DIR": str(cwd / "home"), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
    )
    try:
        await until(lambda: _answers(f"http://{address}/health"))
        yield f"http://{address}"
        process.terminate()
        with trio.fail_after(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


async def test_given_the_wheel_in_an_empty_environment_then_it_serves_the_ui_and_the_demo(
    installed: Path, tmp_path: Path
) -> None:
    async with (
        demo(installed / "swapd", cwd=tmp_path) as url,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as client,
    ):
        # Then the page and the scripts it names are there
        page = await client.get("/ui/")
        assert page.status_code == 200
        scripts = re.findall(r'(?:src|href)="\./([^"]+\.(?:js|css))"', page.text)
        assert scripts
        for script in scripts:
            assert (await client.get(f"/ui/{script}")).status_code == 200
        # And a model answers
        body = {"model": "owl", "messages": [{"role": "user", "content": "Who are you?"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"]


def test_given_the_wheel_when_run_as_a_module_then_it_is_the_same_program(
    installed: Path, tmp_path: Path
) -> None:
    as_module = run(installed / "python", "-m", "swapd", "version", cwd=tmp_path)
    assert as_module == run(installed / "swapd", "version", cwd=tmp_path)
    known = json.loads(run(installed / "swapd", "version", "--json", cwd=tmp_path))
    assert known["commit"] != "unknown"
    assert known["build_date"] == "2025-10-09T08:53:20Z"


def test_given_the_wheel_then_its_extras_are_those_of_the_project(installed: Path, tmp_path: Path) -> None:
    question = "from importlib.metadata import metadata; print(*metadata('swapd').get_all('Provides-Extra'))"
    extras = run(installed / "python", "-c", question, cwd=tmp_path).split()
    assert {"demo", "testing"} <= set(extras)
