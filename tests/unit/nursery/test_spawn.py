from __future__ import annotations

from pathlib import Path

import pytest

from swapd.nursery.launcher import LaunchError
from swapd.nursery.spawn import check_program, child_environment

MARKER = {"SWAPD_INSTANCE": "uuid", "SWAPD_MODEL": "owl", "SWAPD_GEN": "7"}


def test_a_child_gets_the_daemons_environment_then_the_models_then_the_marker() -> None:
    env = child_environment(
        {"PATH": "/bin", "X": "daemon", "SWAPD_GEN": "of an outer swapd"},
        ["X=model", "Y=1", "Y=2=3", "EMPTY=", "SWAPD_MODEL=forged"],
        MARKER,
    )

    assert env == {"PATH": "/bin", "X": "model", "Y": "2=3", "EMPTY": "", **MARKER}


def test_what_the_service_manager_told_the_daemon_is_not_passed_on() -> None:
    env = child_environment(
        {
            "LISTEN_FDS": "1",
            "LISTEN_PID": "1",
            "LISTEN_FDNAMES": "http",
            "NOTIFY_SOCKET": "@systemd",
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": "1",
            "LISTEN_ADDRESS": "kept",
        },
        [],
        {},
    )

    assert env == {"LISTEN_ADDRESS": "kept"}


def test_items_that_are_not_name_and_value_are_left_out() -> None:
    assert child_environment({}, ["NO_VALUE", "=no name", ""], {}) == {}


def executable(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_given_a_program_in_the_path_of_the_child_then_it_is_found(tmp_path: Path) -> None:
    executable(tmp_path / "serve-owl", "#!/bin/sh\n")

    check_program(["serve-owl"], {"PATH": f"/nowhere:{tmp_path}"})


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "empty command"),
        ([""], "empty command"),
        (["no-such-program"], "cannot run no-such-program: No such file or directory (not found in PATH)"),
        (["/no/such/program"], "cannot run /no/such/program: No such file or directory"),
        (["/tmp"], "cannot run /tmp: Is a directory"),
        (["a\0b"], "cannot run 'a\\x00b': "),
    ],
)
def test_given_no_program_then_the_reason_of_the_operating_system(argv: list[str], reason: str) -> None:
    with pytest.raises(LaunchError) as caught:
        check_program(argv, {"PATH": "/usr/bin:/bin"})
    assert str(caught.value).startswith(reason)


def test_given_a_file_that_is_not_executable_then_permission_denied(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("")

    with pytest.raises(LaunchError, match="notes: Permission denied"):
        check_program([str(tmp_path / "notes")], {})


def test_given_a_script_without_its_interpreter_then_that_is_said(tmp_path: Path) -> None:
    script = executable(tmp_path / "serve", "#!/opt/gone/python -u\n")

    with pytest.raises(LaunchError, match="its interpreter /opt/gone/python is missing"):
        check_program([script], {})
