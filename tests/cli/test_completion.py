"""`swapd completion`: the scripts are read without a complaint, and complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from tests.cli.support import environment, on_terminal, piped
from tests.setups import config

pytestmark = pytest.mark.real

IDS = ("gemma:4b", "gemma:27b", "a b", "org/owl")


@pytest.fixture
def command_in_path(tmp_path: Path) -> Path:
    """A directory with a command `swapd`, as an installation has it."""
    command = tmp_path / "bin" / "swapd"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m swapd "$@"\n')
    command.chmod(0o755)
    return command.parent


async def shell(name: str, script: str, directory: Path, swapd: Daemon | None = None) -> str:
    """What the shell prints that runs this; it must not complain."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"there is no {name} here")
    flags = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[name]
    variables = environment(swapd, PATH=f"{directory}:{os.environ['PATH']}", HOME=str(directory))

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *flags, script], capture_output=True, text=True, env=variables, timeout=60, check=False
        )

    done = await trio.to_thread.run_sync(run)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


IN_BASH = """
source <(swapd completion bash)
complete_line() {
    COMP_LINE=$1 COMP_POINT=${#1}
    _swapd
    echo "${COMPREPLY[*]}"
}
"""


async def test_given_bash_when_a_line_is_completed_then_with_what_fits(
    tmp_path: Path, command_in_path: Path
) -> None:
    async with run_daemon(config(dict.fromkeys(IDS, upstream_command())), tmp_path) as swapd:
        lines = ("swapd re", "swapd load ", "swapd load gemma:2", "swapd load --no", "swapd completion f")
        script = IN_BASH + "\n".join(f"complete_line '{line}'" for line in lines)

        completed = (await shell("bash", script, command_in_path, swapd)).splitlines()

    assert completed == ["reload", r"a\ b gemma:27b gemma:4b org/owl", "27b", "--no-wait", "fish"]


async def test_given_fish_when_a_line_is_completed_then_with_what_fits(
    tmp_path: Path, command_in_path: Path
) -> None:
    async with run_daemon(config(dict.fromkeys(IDS, upstream_command())), tmp_path) as swapd:
        lines = ("swapd relo", "swapd load g", "swapd load --no-w", "swapd completion f")
        script = "swapd completion fish | source\n" + "\n".join(f"complete -C '{line}'" for line in lines)

        completed = (await shell("fish", script, command_in_path, swapd)).splitlines()

    assert [line.partition("\t")[0] for line in completed] == [
        "reload",
        "gemma:4b",  # fish sorts numbers by what they are
        "gemma:27b",
        "--no-wait",
        "fish",
    ]


async def test_given_zsh_when_the_script_is_read_then_it_is_in_charge_of_swapd(command_in_path: Path) -> None:
    script = "source <(swapd completion zsh); echo $_comps[swapd]; functions _swapd | wc -l"

    name, lines = (await shell("zsh", script, command_in_path)).split()

    assert name == "_swapd_entry"
    assert int(lines) > 30


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
async def test_given_no_daemon_when_the_script_is_read_then_there_is_no_complaint(
    name: str, command_in_path: Path
) -> None:
    script = await piped(None, "completion", name)
    assert (script.code, script.err) == (0, "")
    assert (await on_terminal(None, "completion", name)).out == script.out
    (command_in_path / "script").write_text(script.out)

    assert await shell(name, f"source {command_in_path}/script", command_in_path) == ""
    assert await piped(None, "completion", "--models", "--url=http://127.0.0.1:9") == (0, "", "")


async def test_given_no_shell_when_asked_for_a_script_then_it_is_wrong_usage() -> None:
    for words in ((), ("tcsh",)):
        done = await piped(None, "completion", *words)
        assert (done.code, done.out) == (2, "")
        assert "say for which shell: bash, zsh, fish" in done.err
