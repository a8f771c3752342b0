"""The examples are fit to start from: they load without a warning, and say what has to be adapted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from swapd.cli import check
from swapd.config import Sources, load
from swapd.config.configuration import RootKeys
from swapd.config.declare import Section, keys_of
from swapd.config.kinds import ListOf, MapOf
from swapd.config.names import ApiKeyItem, ApiKeyKeys

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
ENVIRONMENT = {"HOUSE_KEY": "0123", "GUEST_KEY": "4567"}
"""What shared-server.yaml says has to be set."""


def test_there_are_enough_to_choose_from() -> None:
    names = {path.stem for path in EXAMPLES}
    assert len(names) >= 8
    assert names >= {"single-gpu", "two-gpus", "matrix", "docker", "vllm", "assistant", "peers", "everything"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_the_strict_check_on_any_machine(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a machine without a single one of the programs and models
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    # When it is checked as in CI
    status = check.run(["--strict", str(example)])

    # Then it passes: what this machine lacks is advice, no warning
    output = capsys.readouterr().out
    assert status == 0, output
    assert "warning[" not in output


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_shows_and_what_to_adapt(example: Path) -> None:
    text = example.read_text()

    head = re.match(r"(#.*\n)+", text)
    assert head is not None, "a comment head that says what it shows"
    assert len(head[0]) > 100
    assert "Adapt: " in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_one_example_shows_every_key() -> None:
    # Given the names of all keys, as they are declared
    text = (ROOT / "examples" / "everything.yaml").read_text()

    # Then each stands in the file, if only in a comment
    missing = [name for name in sorted(key_names(RootKeys)) if not re.search(rf"\b{name}:\s", text)]
    assert missing == []


def test_the_examples_do_not_use_one_port_twice() -> None:
    for example in EXAMPLES:
        config = load(Sources((example,)), environ=ENVIRONMENT).config
        assert config is not None
        ports = [model.port for model in config.models.values()]
        assert None not in ports, f"{example.name}: a model with a fixed port cannot be copied"
        assert len(set(ports)) == len(ports)


def key_names(section: type[Any]) -> set[str]:
    names: set[str] = set()
    for name, (_, key) in keys_of(section).items():
        names.add(name)
        kind: Any = key.kind
        while isinstance(kind, (MapOf, ListOf)):
            kind = kind.item
        if isinstance(kind, Section):
            names |= key_names(kind.of)
        if isinstance(kind, ApiKeyItem):
            names |= key_names(ApiKeyKeys)
    return names
