"""The container file and what stands beside it: read as far as that goes without a container."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from swapd.cli.client import DEFAULT_URL
from swapd.cli.serve import MACHINE_CONFIG, default_places, parse_options
from swapd.cli.unit import KINDS, as_text
from swapd.cli.units.installation import Installation

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
INSTRUCTIONS = {
    "ARG", "FROM", "RUN", "COPY", "USER", "ENV", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
    "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the container file, lines that go on joined, comments gone."""
    text = (PACKAGING / "Containerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]  # type: ignore[misc]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def compose(text: str) -> dict[str, object]:
    service: dict[str, object] = YAML(typ="safe").load(text)["services"]["swapd"]
    return service


def test_the_container_file_is_made_of_instructions() -> None:
    found = [name for name, _ in instructions()]
    assert set(found) == INSTRUCTIONS
    # Two stages, and what is left of the first is a wheel
    assert found.count("FROM") == 2
    assert "--no-deps --wheel-dir /dist" in " ".join(rest for _, rest in instructions())


def test_what_it_copies_is_there() -> None:
    for name, rest in instructions():
        if name == "COPY":
            *sources, _ = shlex.split(rest)
            assert all((ROOT / source).exists() for source in sources)


def test_every_shell_line_is_one(tmp_path: Path) -> None:
    import subprocess

    for name, rest in instructions():
        if name == "RUN":
            script = re.sub(r"^--mount=\S+\s+", "", rest)
            done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, timeout=20)
            assert (done.returncode, done.stderr) == (0, ""), script


def test_it_runs_swapd_as_somebody_without_power_under_an_init() -> None:
    assert last("USER") == "10001"
    assert json.loads(last("ENTRYPOINT")) == ["tini", "--", "/opt/swapd/bin/swapd"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_its_command_line_is_one_of_swapd_and_can_be_reached_from_outside() -> None:
    command, *flags = json.loads(last("CMD"))
    environment = dict(word.split("=", 1) for word in last("ENV").split())
    assert command == "serve"
    options = parse_options(flags, {"SWAPD_LISTEN": environment["SWAPD_LISTEN"]})
    assert options is not None
    assert options.config == ()
    assert MACHINE_CONFIG in default_places({})
    assert options.watch_config
    assert options.listen == (":8080",)
    assert environment["STATE_DIRECTORY"] == last("VOLUME") == last("WORKDIR")
    # And that is where its health is asked for
    assert last("EXPOSE") == "8080"
    assert json.loads(last("HEALTHCHECK").partition("CMD ")[2]) == ["/opt/swapd/bin/swapd", "health"]
    assert DEFAULT_URL == "http://127.0.0.1:8080"


def test_the_compose_file_builds_from_what_is_there() -> None:
    service = compose((PACKAGING / "compose.yaml").read_text())
    build = service["build"]
    assert isinstance(build, dict)
    context = (PACKAGING / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).exists()
    declared = {rest.partition("=")[0] for name, rest in instructions() if name == "ARG"}
    assert set(build["args"]) <= declared


@pytest.mark.parametrize("key", ["stop_grace_period", "read_only", "tmpfs", "restart", "image", "shm_size"])
def test_the_compose_file_that_is_printed_says_the_same(key: str) -> None:
    here = Installation(program=("swapd",), config=Path("/etc/swapd/config.yaml"))
    printed = compose(as_text(KINDS["compose"][1](here)))
    assert printed[key] == compose((PACKAGING / "compose.yaml").read_text())[key]
    assert "init" not in printed
