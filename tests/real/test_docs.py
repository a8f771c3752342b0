"""Every page's commands are run, one after another, as somebody would who follows it with an empty home.

What cannot be run here says why in a comment (see tests/documents.py). The programs and models that a page
names are real llama.cpp servers on tiny models, and stand-ins for the rest; ports are changed for free ones.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from swapd.config import loads
from swapd.testing.daemon import run_daemon
from swapd.testing.gguf import Kind, write_tiny_model
from swapd.testing.llama import wheel_problem
from swapd.testing.ports import free_port, free_ports
from swapd.testing.processes import MARKER, kill_processes, marked_processes
from tests.documents import PAGES, ROOT, Block, blocks, name
from tests.real.daemons import until
from tests.real.programs import LLAMA_SERVER, PROGRAMS, STAND_IN, install

pytestmark = [
    pytest.mark.real,
    pytest.mark.llama,
    pytest.mark.skipif(wheel_problem() is not None, reason="needs the wheel xllamacpp"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

_BACKGROUND = """\
# Whoever has this port by now is stopped first, as a reader would with Ctrl-C.
if [ -e started-{port} ]; then kill $(cat started-{port}) && wait $(cat started-{port}); fi
(
{commands}
) > background-{port} 2>&1 &
echo $! > started-{port}
curl -sS --retry 60 --retry-delay 1 --retry-all-errors -f http://127.0.0.1:{port}/ready > /dev/null || {{
    cat background-{port}
    exit 1
}}
"""


def is_run(block: Block) -> bool:
    return block.language in ("sh", "python") and not block.not_run


RUN = [
    page
    for page in PAGES
    # That one has tests of its own, in which its pieces are put together.
    if page.name != "testing.md" and any(map(is_run, blocks(page)))
]


class Script:
    """A page as a script for bash: its files are written where they stand, its commands run in order.

    `ports` are those of the page, each with a free one in its place.
    """

    def __init__(self, page: Path, directory: Path) -> None:
        self.directory = directory
        self._models = directory / "models"
        self.ports = {"8080": free_port(), "8090": free_port()}
        self._upstreams = {"5800": free_ports(10), "5900": free_ports(10)}
        self.text = "set -eu\n" + "".join(map(self._lines, blocks(page)))

    def _lines(self, block: Block) -> str:
        if block.language == "yaml" and block.file:
            return f"cat > {shlex.quote(block.file)} <<'EOF'\n{self._with_ports(block.text)}EOF\n"
        if not is_run(block):
            return ""
        text = self._adapted(block.text)
        if block.language == "python":
            return f"{shlex.quote(sys.executable)} - <<'EOF'\n{text}EOF\n"
        if block.in_the_background:
            listen = re.search(r"--?listen \S*:(\d+)", text)
            text = re.sub(r"^swapd ", "exec swapd ", text, flags=re.MULTILINE)
            return _BACKGROUND.format(commands=text, port=listen[1] if listen else self.ports["8080"])
        return text

    def _with_ports(self, text: str) -> str:
        """A configuration whose models listen where no other test does."""
        text = self._adapted(text)
        if found := re.search(r"^startPort: (\d+)$", text, re.MULTILINE):
            return text.replace(found[0], f"startPort: {self._upstreams[found[1]]}")
        return f"startPort: {self._upstreams['5800']}\n{text}"

    def _adapted(self, text: str) -> str:
        for path in re.findall(r"/srv/models/([\w.-]+\.gguf)", text):
            self._write_model(path)
        text = text.replace("/srv/models", str(self._models)).replace(".venv/bin/swapd", "swapd")
        for port, free in self.ports.items():
            text = re.sub(rf"(?<=:){port}\b", str(free), text)
        return text

    def _write_model(self, file: str) -> None:
        kind: Kind = "embedding" if "embed" in file else "rerank" if "rerank" in file else "chat"
        self._models.mkdir(exist_ok=True)
        if not (self._models / file).exists():
            write_tiny_model(self._models / file, kind=kind)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables of somebody who has installed swapd, and the programs; nothing of theirs runs at the end."""
    install(tmp_path, STAND_IN, *PROGRAMS)
    programs = install(tmp_path, LLAMA_SERVER, "llama-server")
    swapd = Path(sys.executable).parent
    marker = uuid4().hex
    for place in ("home", "runtime"):
        (tmp_path / place).mkdir()
    yield {
        "PATH": f"{programs}:{swapd}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),
        "LANG": "C.UTF-8",
        MARKER: marker,
    }
    kill_processes(marked_processes(marker))


@pytest.mark.parametrize("page", RUN, ids=name)
async def test_what_a_page_says_to_do_works(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    # Given the page as a script, in an empty directory
    script = Script(page, tmp_path)
    directory = tmp_path / "here"
    directory.mkdir()
    # When it is run
    status, output = run(script, directory, environment)
    # Then all of it works
    assert status == 0, output + "".join(log.read_text() for log in directory.glob("background-*"))
    assert output.endswith("the end\n")
    # And no answer was an error
    assert '"error"' not in output, output
    # And whoever stops what was started leaves nothing behind
    for started in directory.glob("started-*"):
        os.kill(int(started.read_text()), signal.SIGTERM)
    await until(lambda: not marked_processes(environment[MARKER]))


def run(script: Script, directory: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of the script, after at most 200 s."""
    address = f"127.0.0.1:{script.ports['8080']}"
    daemon = {"SWAPD_LISTEN": address, "SWAPD_URL": f"http://{address}"}
    done = subprocess.run(
        ["bash", "-c", f"{script.text}\necho the end"],
        cwd=directory,
        env={**environment, **daemon},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout


RECIPES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    if page.parent.name == "recipes"
    for number, block in enumerate(blocks(page))
    if block.language == "yaml" and not block.foreign and "models:\n" in block.text and "cmd:" in block.text
]
KEYS = {"HOUSE_KEY": "0123", "GUEST_KEY": "4567"}


@pytest.mark.parametrize("block", RECIPES)
async def test_a_recipe_serves_all_its_models(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the recipe, and stand-ins for its programs
    programs = install(tmp_path, STAND_IN, *PROGRAMS)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    for variable, key in KEYS.items():
        monkeypatch.setenv(variable, key)
    text = re.sub(r"/opt/vllm/bin/(?=vllm)", "", re.sub(r"startPort: \d+\n", "", block.text))
    config = loads(text).config
    assert config is not None
    models = [id for id, model in config.models.items() if "/" not in model.argv[0]]
    # When it is served
    async with run_daemon(text, tmp_path) as daemon, daemon.client() as client:
        client.headers["Authorization"] = f"Bearer {KEYS['HOUSE_KEY']}"
        # Then every model answers
        for model in models:
            answer = await client.post("/v1/chat/completions", json={"model": model, "messages": []})
            assert answer.status_code == 200, (model, answer.text, daemon.output)


def test_every_page_with_commands_is_run() -> None:
    assert {name(page) for page in RUN} >= {
        "README.md",
        "docs/install.md",
        "docs/first-model.md",
        "docs/from-llama-swap.md",
        "docs/operating.md",
        "docs/recipes/clients.md",
        "docs/recipes/gpus.md",
        "docs/recipes/machines.md",
        "docs/recipes/voice-and-search.md",
    }
    assert ROOT / "docs" / "testing.md" not in RUN
