"""`swapd unit`: what it prints for every service manager, compared with what was looked over by eye.

After a change that is meant: `SWAPD_GOLDEN=write pytest tests/unit/cli/test_unit.py`; read the difference.
"""

from __future__ import annotations

import os
import plistlib
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve
from ruamel.yaml import YAML

from swapd.cli.main import main
from swapd.cli.unit import KINDS, as_text, remarks
from swapd.cli.units.installation import Installation, stop_time_s, this_program
from swapd.cli.units.systemd import command_line

GOLDEN = Path(__file__).parent / "golden" / "units"

PLAIN = Installation(
    program=("/opt/swapd/bin/swapd",),
    config=Path("/etc/swapd/config.yaml"),
    home=Path("/Users/ada"),
    systemd=252,
)
WITH_GPUS = evolve(
    PLAIN,
    groups={"render": 108, "video": 44},
    dri=True,
    nvidia=True,
    nvidia_modprobe="/usr/bin/nvidia-modprobe",
    systemd=257,
    listen=":9090",
    stop_s=345,
)
MACHINES = {
    "plain": PLAIN,
    "gpus": WITH_GPUS,
    "containers": evolve(PLAIN, containers=True, config=Path("/srv/my models/swapd.yaml")),
    "own-user": evolve(PLAIN, user=None),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", KINDS)
def test_given_a_machine_then_its_unit_is_the_one_that_was_looked_over(kind: str, machine: str) -> None:
    printed = as_text(KINDS[kind][1](MACHINES[machine]))
    golden = GOLDEN / f"{kind}-{machine}.txt"
    if os.environ.get("SWAPD_GOLDEN") == "write":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(printed)
    assert printed == golden.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_given_a_kind_when_asked_for_then_it_is_printed_for_this_installation(
    kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("models: {a: {cmd: sleep 9, proxy: http://127.0.0.1:1}}\nshutdown: {drain: 300}\n")
    assert main(["unit", kind, "--config", str(config), "--listen", "127.0.0.1:9999"]) == 0
    shown = capsys.readouterr().out
    # The configuration, and the time that its drain asks for: 300 s, 5 s at most beyond, 30 s on top
    assert str(tmp_path) in shown
    if kind not in ("runit", "launchd"):
        assert "335" in shown
    assert "9999" in shown


@pytest.mark.parametrize("argv", [["unit"], ["unit", "upstart"], ["unit", "--config", "x"]])
def test_given_no_kind_or_a_strange_one_then_the_kinds_are_named(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    assert f"hint: the kinds are {', '.join(KINDS)}" in capsys.readouterr().err


def test_given_a_directory_then_the_files_are_written_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unit", "s6", "--out", str(tmp_path / "swapd")]) == 0
    assert {file.name for file in (tmp_path / "swapd").iterdir()} == {
        "run",
        "finish",
        "notification-fd",
        "timeout-kill",
    }
    assert os.access(tmp_path / "swapd" / "run", os.X_OK)
    (tmp_path / "swapd" / "finish").write_text("mine")
    assert main(["unit", "s6", "--out", str(tmp_path / "swapd")]) == 1
    assert "it exists" in capsys.readouterr().err
    assert (tmp_path / "swapd" / "finish").read_text() == "mine"


def test_given_the_user_who_asks_then_nobody_else_is_switched_to(capsys: pytest.CaptureFixture[str]) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    assert main(["unit", "runit", "--user", me]) == 0
    mine = capsys.readouterr().out
    assert main(["unit", "runit", "--user", "nobody-else"]) == 0
    assert "chpst" not in mine
    assert "chpst -u nobody-else" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
@pytest.mark.parametrize("kind", ["systemd", "systemd-user"])
@pytest.mark.parametrize("machine", ["plain", "containers"])
def test_given_a_unit_then_systemd_finds_nothing_to_say_about_it(
    kind: str, machine: str, tmp_path: Path
) -> None:
    # Given one whose program exists, for that is looked at too
    here = evolve(MACHINES[machine], program=(sys.executable, "-m", "swapd"))
    [unit] = KINDS[kind][1](here)
    path = tmp_path / "swapd.service"
    path.write_text(unit.text)
    manager = ("--user",) if kind == "systemd-user" else ()
    # When
    done = subprocess.run(
        ["systemd-analyze", *manager, "verify", str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    # Then it is content: with an unknown key it would return 0 as well, and say so
    assert done.returncode == 0, done.stderr
    assert str(path) not in done.stderr


def test_given_a_systemd_that_knows_notify_reload_then_and_only_then_it_is_used() -> None:
    for version, new in ((None, False), (247, False), (252, False), (253, True), (258, True)):
        text = as_text(KINDS["systemd"][1](evolve(PLAIN, systemd=version)))
        lines = text.splitlines()
        assert ("Type=notify-reload" in lines) == new
        assert ("Type=notify" in lines) == (not new)
        assert ("ExecReload=/bin/kill -HUP $MAINPID" in lines) == (not new)
        # systemd knows no comments behind a value
        assert not [line for line in lines if "#" in line and not line.startswith("#")]


def test_given_a_compose_file_then_it_is_yaml_with_an_absolute_configuration_and_time_to_stop() -> None:
    document = YAML(typ="safe").load(as_text(KINDS["compose"][1](WITH_GPUS)))
    service = document["services"]["swapd"]
    assert "init" not in service
    assert service["stop_grace_period"] == "345s"
    assert service["volumes"][0] == "/etc/swapd:/etc/swapd:ro"
    assert service["ports"] == ["127.0.0.1:9090:8080"]
    assert service["group_add"] == ["108", "44"]
    [gpu] = service["deploy"]["resources"]["reservations"]["devices"]
    assert gpu == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_given_a_launch_agent_then_it_is_a_property_list() -> None:
    described = plistlib.loads(as_text(KINDS["launchd"][1](WITH_GPUS)).encode())
    assert described["ProgramArguments"] == list(WITH_GPUS.serve)
    assert described["KeepAlive"] == {"SuccessfulExit": False}
    assert described["ExitTimeOut"] == 345


@pytest.mark.parametrize("words", [["a"], ["a b", 'c"d'], ["100%", "$HOME", "\\"], ["it's", ""], [";"]])
def test_given_any_words_then_they_are_written_so_that_systemd_and_the_shell_read_them_back(
    words: list[str],
) -> None:
    # Given the words as systemd.service(5) has them; undo what is its own, and what is left is a shell's
    undone = command_line(words).replace("%%", "%").replace("$$", "$")
    assert shlex.split(undone) == words


def test_given_a_drain_time_then_the_supervisor_waits_longer_than_swapd_does() -> None:
    assert stop_time_s(0, 30, 5) == 90
    assert stop_time_s(10, 300, 5) == 345
    assert stop_time_s(0, 59.5, 5) == 95


def test_given_a_script_in_a_virtual_environment_then_it_is_found_without_path(tmp_path: Path) -> None:
    (tmp_path / "swapd").write_text("")
    python = str(tmp_path / "python")
    assert this_program(str(tmp_path / "swapd"), python) == (str(tmp_path / "swapd"),)
    assert this_program("/usr/lib/swapd/__main__.py", python) == (str(tmp_path / "swapd"),)
    (tmp_path / "swapd").unlink()
    assert this_program("/usr/lib/swapd/__main__.py", python) == (python, "-m", "swapd")


def test_given_a_program_in_a_home_that_another_user_is_to_run_then_that_is_said(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("")
    home = evolve(PLAIN, program=("/home/ada/.venv/bin/swapd",), config=config)
    [remark] = remarks(home)
    assert "may not be able to read /home/ada/.venv/bin/swapd" in remark
    assert remarks(evolve(home, user=None)) == []
    assert remarks(evolve(home, program=("/opt/swapd/bin/swapd",))) == []
