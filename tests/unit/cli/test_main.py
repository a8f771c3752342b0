"""From the command line to the command, and from its failure to message and exit code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from swapd.cli.errors import CliError, ExitCode, UsageError
from swapd.cli.main import COMMANDS, main
from swapd.version import BUILD, CHECKOUT

Run = Callable[[list[str]], int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Run], None]:
    """Replaces a command's module by one whose `run` is given."""

    def replace(name: str, run: Run) -> None:
        module = ModuleType(f"swapd.cli.{name}")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"swapd.cli.{name}", module)

    return replace


@pytest.mark.parametrize(
    ("argv", "name", "rest"),
    [
        ([], "serve", []),
        (["serve"], "serve", []),
        (["-config", "c.yaml", "-listen", ":8080"], "serve", ["-config", "c.yaml", "-listen", ":8080"]),
        (["--config=c.yaml"], "serve", ["--config=c.yaml"]),
        (["serve", "--config", "serve"], "serve", ["--config", "serve"]),
        (["check", "a.yaml", "--strict"], "check", ["a.yaml", "--strict"]),
        (["schema"], "schema", []),
        (["demo", "--listen", ":0"], "demo", ["--listen", ":0"]),
        (["help"], "serve", ["--help"]),
    ],
)
def test_given_a_command_line_when_run_then_its_command_gets_the_rest(
    command: Callable[[str, Run], None], argv: list[str], name: str, rest: list[str]
) -> None:
    seen: list[Sequence[str]] = []

    def run(argv: list[str]) -> int:
        seen.append(argv)
        return 7

    command(name, run)

    assert main(argv) == 7
    assert seen == [rest]


def test_given_an_unknown_command_when_run_then_the_known_ones_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["frobnicate"]) == 2

    shown = capsys.readouterr()
    assert shown.out == ""
    assert (
        shown.err == f"swapd: unknown command: 'frobnicate'\nhint: the commands are {', '.join(COMMANDS)}\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (CliError("cannot fly: no wings"), 1, "swapd: cannot fly: no wings\n"),
        (CliError("cannot: busy", "wait", ExitCode.BUSY), 75, "swapd: cannot: busy\nhint: wait\n"),
        (UsageError("wrong usage: x"), 2, "swapd: wrong usage: x\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            ZeroDivisionError("a bug"),
            70,
            "swapd: internal error: ZeroDivisionError: a bug\n"
            "hint: repeat it with --debug for the traceback, and please report it\n",
        ),
        (
            ExceptionGroup("nursery", [ExceptionGroup("inner", [ZeroDivisionError("a bug")])]),
            70,
            "swapd: internal error: ZeroDivisionError: a bug\n"
            "hint: repeat it with --debug for the traceback, and please report it\n",
        ),
    ],
)
def test_given_a_command_that_fails_when_run_then_message_and_code_say_how(
    command: Callable[[str, Run], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    shown: str,
) -> None:
    def run(argv: list[str]) -> int:
        raise error

    command("check", run)

    assert main(["check"]) == code
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("flag", ["--debug", "-debug"])
def test_given_debug_when_a_command_has_a_bug_then_its_traceback_is_not_hidden(
    command: Callable[[str, Run], None], flag: str
) -> None:
    def run(argv: list[str]) -> int:
        raise ZeroDivisionError("a bug")

    command("check", run)

    with pytest.raises(ZeroDivisionError):
        main(["check", flag])


@pytest.mark.parametrize(
    "argv", [["--version"], ["-version"], ["version"], ["serve", "-config", "x", "-version"]]
)
def test_given_a_wish_for_the_version_when_run_then_it_is_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == f"version: {BUILD.version} ({BUILD.commit}), built at {BUILD.date}\n"


def test_given_sources_without_history_when_their_version_is_asked_then_package_and_checkout_agree() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())

    assert CHECKOUT.version == project["tool"]["hatch"]["version"]["fallback-version"]


def test_given_the_version_as_json_when_run_then_it_names_the_libraries_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import json

    assert main(["version", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        "version",
        "commit",
        "build_date",
        "python",
        "trio",
        "hypercorn",
    }


@pytest.mark.real
def test_given_a_wish_for_the_version_when_run_then_nothing_heavy_is_imported() -> None:
    import subprocess

    program = (
        "import sys; from swapd.cli.main import main; main(['--version']); "
        "print([name for name in ('trio', 'attr', 'starlette', 'hypercorn', 'ruamel', 'asyncio') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("version >&-", 0),
        ("version <&- >&- 2>&-", 0),
        ("check no-such.yaml >&- 2>&-", 1),
        ("nonsense 2>&-", 2),
    ],
)
def test_given_closed_streams_when_run_then_the_exit_code_is_the_same(command: str, status: int) -> None:
    done = subprocess.run(["sh", "-c", f'"$0" -m swapd {command}', sys.executable], timeout=60, check=False)
    assert done.returncode == status
