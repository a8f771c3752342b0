"""Every example runs: `swapd -config examples/x.yaml`, with stand-ins for the programs this machine lacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from swapd.config import Sources, load
from swapd.testing.daemon import run_swapd
from swapd.testing.gguf import Kind
from swapd.testing.llama import wheel_problem
from swapd.testing.ports import free_ports
from tests.real.programs import LLAMA_SERVER, PROGRAMS, STAND_IN, install

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
ENVIRONMENT = {"HOUSE_KEY": "0123", "GUEST_KEY": "4567"}


def with_own_ports(example: Path, directory: Path) -> Path:
    """The example with a range of ports that no other test uses."""
    text = re.sub(r"^startPort:.*\n", "", example.read_text(), flags=re.MULTILINE)
    copy = directory / example.name
    copy.write_text(f"startPort: {free_ports(20)}\n{text}")
    return copy


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
async def test_an_example_serves_all_its_models(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the programs of the example, and the variables it asks for
    programs = install(tmp_path, STAND_IN, *PROGRAMS)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    config = load(Sources((example,)), environ=ENVIRONMENT).config
    assert config is not None
    models = [id for id, model in config.models.items() if "/" not in model.argv[0]]
    assert models

    # When the daemon is started with it, in the words of the reference
    path = with_own_ports(example, tmp_path)
    async with (
        run_swapd(tmp_path, "-config", str(path), "-listen", "127.0.0.1:0") as daemon,
        daemon.client() as client,
    ):
        # Then every model answers
        client.headers["Authorization"] = f"Bearer {ENVIRONMENT['HOUSE_KEY']}"
        for model in models:
            answer = await client.post("/v1/chat/completions", json={"model": model, "messages": []})
            assert answer.status_code == 200, (model, answer.text, daemon.output)


@pytest.mark.llama
@pytest.mark.skipif(wheel_problem() is not None, reason="needs the wheel xllamacpp")
async def test_the_first_example_runs_on_a_real_llama_server(
    tmp_path: Path, tiny_model: Callable[[Kind], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given llama.cpp's server, and tiny models under the names of the big ones
    programs = install(tmp_path, LLAMA_SERVER, "llama-server")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    path = with_own_ports(ROOT / "examples" / "single-gpu.yaml", tmp_path)
    text = path.read_text().replace("/srv/models", str(tmp_path))
    path.write_text(text)
    for name in re.findall(r"--model \$\{models\}/(\S+)", text):
        (tmp_path / name).symlink_to(tiny_model("chat"))

    # When a model is asked for by its alias, and then another one
    async with (
        run_swapd(tmp_path, "-config", str(path), "-listen", "127.0.0.1:0") as daemon,
        daemon.client() as client,
    ):
        question = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        for name in ("gpt-4o-mini", "coder"):
            answer = await client.post("/v1/chat/completions", json={"model": name, **question})

            # Then llama.cpp answers, and only that model runs
            assert answer.status_code == 200, (answer.text, daemon.output)
            assert answer.json()["choices"][0]["message"]["content"]
        running = (await client.get("/running")).json()["running"]
        assert [entry["model"] for entry in running] == ["coder"]
