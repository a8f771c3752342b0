"""`swapd doctor`, on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swapd.testing.daemon import run_daemon, upstream_command
from swapd.testing.ports import free_port
from tests.cli.support import golden, on_terminal, piped, uncoloured
from tests.setups import config

pytestmark = pytest.mark.real

LINES = golden(
    "ok      swapd: {any}\n"
    "{lines}"
    "ok      configuration: {file}: 2 models\n"
    'error   command: the program "nosuch-server" of model "wren" is not found on this machine\n'
    "        a model that needs it does not start\n"
    "        hint: install it, or write its full path\n"
    "ok      state directory: {state}: not there yet, can be made\n"
    "ok      address 127.0.0.1:{port}: free\n"
    "{lines}"
    "\n"
    "{number} {errors}, {number} {warnings}\n",
    any="[^\n]+",
    lines="(?:[^\n]+\n)+",
    file="[^\n]+/swapd.yaml",
    state="[^\n]+/state",
    port=r"\d+",
    number=r"\d+",
    errors="errors?",
    warnings="warnings?",
)


async def test_given_a_program_that_is_missing_when_looked_then_terminal_and_pipe_say_so_and_it_fails(
    tmp_path: Path,
) -> None:
    file = tmp_path / "swapd.yaml"
    file.write_text(config({"owl": upstream_command(), "wren": "nosuch-server ${PORT}"}))
    argv = [
        "doctor",
        f"--config={file}",
        f"--state-dir={tmp_path / 'state'}",
        f"--listen=127.0.0.1:{free_port()}",
    ]

    done = await piped(None, *argv)
    assert (done.code, done.err) == (1, "")
    assert LINES.fullmatch(done.out), done.out
    shown = await on_terminal(None, *argv)
    assert shown.code == 1
    assert "\x1b[31merror   \x1b[0mcommand: " in shown.out
    assert uncoloured(done.out).splitlines()[-1] in uncoloured(shown.out)
    findings = json.loads((await piped(None, *argv, "--json")).out)["findings"]
    [missing] = [each for each in findings if each["subject"] == "command"]
    assert (missing["level"], missing["mend"]) == ("error", "install it, or write its full path")
    assert not (tmp_path / "state").exists()


async def test_given_a_running_swapd_when_looked_then_its_address_and_its_directory_are_not_blamed(
    tmp_path: Path,
) -> None:
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as running:
        address = running.url.removeprefix("http://")
        findings = json.loads((await piped(None, "doctor", f"--listen={address}", "--json")).out)["findings"]
        [there] = [each for each in findings if each["subject"] == f"address {address}"]
        assert (there["level"], there["what"]) == ("ok", "swapd answers there")


async def test_given_no_address_when_looked_then_that_is_wrong_usage() -> None:
    done = await piped(None, "doctor", "--listen", "nowhere")
    assert (done.code, done.out) == (2, "")
    assert "write HOST:PORT" in done.err
