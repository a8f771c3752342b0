"""`swapd init`, from files in a folder to an answer of llama.cpp."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from swapd.testing.daemon import run_daemon
from swapd.testing.gguf import CHAT_TEXT, write_tiny_model
from tests.cli.support import Finished, on_terminal, piped
from tests.setups import chat

pytestmark = pytest.mark.real

FOUND = """\
swapd: skipped {models}/broken.gguf: it does not begin like a GGUF file
swapd: 2 models found
"""


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    write_tiny_model(directory / "Owl-Q4_K_M.gguf", name="Owl")
    write_tiny_model(directory / "wren-embed.gguf", kind="embedding")
    (directory / "broken.gguf").write_text("<html>404 Not Found</html>")
    return directory


async def test_given_a_folder_when_initialised_then_pipe_and_terminal_say_what_was_found_and_written(
    models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "swapd.yaml"
    done = await piped(None, "init", str(models), "--out", str(out))
    assert done == Finished(0, f"wrote {out}; next: swapd check {out}\n", FOUND.format(models=models))

    # And again: nothing is overwritten unless that is asked for
    before = out.read_text()
    done = await piped(None, "init", str(models), f"--out={out}")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"swapd: cannot write {out}: it exists\nhint: --force writes over it, --out names another file\n"
    )
    seen = await on_terminal(None, "init", str(models), "--force", "--out", str(out))
    assert seen.out == FOUND.format(models=models) + f"wrote {out}; next: swapd check {out}\n"
    assert out.read_text() == before


async def test_given_flags_that_print_when_initialised_then_nothing_is_written(
    models: Path, tmp_path: Path
) -> None:
    printed = await piped(None, "init", str(models), "--out", "-")
    assert printed.code == 0
    assert "owl:" in printed.out
    assert (await piped(None, "init", "--dry-run", str(models))).out == printed.out

    document = json.loads((await piped(None, "init", "--json", "--dry-run", str(models))).out)
    assert [(model["id"], model["kind"]) for model in document["models"]] == [
        ("owl", "chat"),
        ("wren-embed", "embedding"),
    ]
    assert document["configuration"] == printed.out
    assert [Path(each["path"]).name for each in document["not_used"]] == ["broken.gguf"]
    assert names_in(tmp_path) == ["models"]


async def test_given_no_models_when_initialised_then_it_fails_and_says_where_it_looked(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = await piped(None, "init", "--dry-run", HOME=str(home), XDG_CACHE_HOME="", HF_HOME="")
    assert done.code == 1
    assert f"{home}/.cache/llama.cpp" in done.err
    assert "models: {}" in done.out

    done = await piped(None, "init", str(tmp_path / "nowhere"))
    assert (done.code, done.out) == (1, "")
    assert "nowhere: it does not exist" in done.err


@pytest.mark.llama
async def test_given_models_when_initialised_checked_and_served_then_llama_cpp_answers(
    models: Path, tmp_path: Path
) -> None:
    # Given llama.cpp's server
    server = tmp_path / "bin" / "llama-server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m swapd.testing.llama "$@"\n')
    server.chmod(0o755)

    # When the configuration is written and checked
    out = tmp_path / "swapd.yaml"
    done = await piped(
        None,
        "init",
        str(models),
        "--out",
        str(out),
        "--server",
        str(server),
        STATE_DIRECTORY=str(tmp_path / "state" / "new"),
    )
    assert done.code == 0, done
    checked = await piped(None, "check", "--strict", str(out))
    assert (checked.code, checked.out) == (0, f"{out}: no problems; 2 models\n"), checked

    # Then it serves as it stands
    async with run_daemon(out.read_text(), tmp_path) as running, running.client(timeout_s=60) as client:
        answer = await client.post("/v1/chat/completions", json=chat("owl", temperature=0))
        assert answer.json()["choices"][0]["message"]["content"].strip() == CHAT_TEXT
        answer = await client.post("/v1/embeddings", json={"model": "wren-embed", "input": "x"})
        assert len(answer.json()["data"][0]["embedding"]) > 1
