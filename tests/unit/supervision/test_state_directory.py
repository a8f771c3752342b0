"""One daemon for each state directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swapd.supervision.state_directory import (
    StateDirectory,
    StateDirectoryBusy,
    StateDirectoryError,
    default_state_directory,
)

HOLDER = """
import sys
from pathlib import Path
from swapd.supervision.state_directory import StateDirectory
held = StateDirectory.open(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def test_given_a_directory_that_another_daemon_holds_then_its_pid_is_named(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as holder, pytest.raises(StateDirectoryBusy) as caught:
        StateDirectory.open(tmp_path)

    assert caught.value.pid == holder.pid
    assert str(caught.value) == f"another swapd (pid {holder.pid}) uses the state directory {tmp_path}"


def test_given_a_holder_that_was_killed_then_the_directory_is_free(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as holder:
        holder.kill()
        holder.wait()

        StateDirectory.open(tmp_path).close()


def test_given_a_lock_file_without_a_pid_then_the_holder_is_just_another_swapd(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(StateDirectoryBusy) as caught:
            StateDirectory.open(tmp_path)

    assert caught.value.pid is None
    assert str(caught.value).startswith("another swapd uses")


def test_given_a_directory_that_was_closed_then_it_can_be_opened_again(tmp_path: Path) -> None:
    first = StateDirectory.open(tmp_path)
    first.close()
    first.close()

    StateDirectory.open(tmp_path).close()


def test_given_no_directory_then_it_is_made_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "swapd"

    StateDirectory.open(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600


def test_given_an_open_directory_then_no_child_inherits_its_lock(tmp_path: Path) -> None:
    directory = StateDirectory.open(tmp_path)
    try:
        [lock] = [
            int(link.name)
            for link in Path("/proc/self/fd").iterdir()
            if os.path.realpath(link) == str(tmp_path / "lock")
        ]
        assert not os.get_inheritable(lock)
    finally:
        directory.close()


def test_given_a_file_in_its_place_then_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("")

    with pytest.raises(StateDirectoryError, match=f"cannot use the state directory {path}: File exists"):
        StateDirectory.open(path)


def test_given_a_link_in_place_of_the_lock_then_it_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "state"
    path.mkdir()
    (path / "lock").symlink_to(victim)

    with pytest.raises(StateDirectoryError):
        StateDirectory.open(path)

    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/swapd:/var/lib/other"}, 0, "/var/lib/swapd"),
        ({"XDG_STATE_HOME": "/home/me/state"}, 0, "/home/me/state/swapd"),
        ({"HOME": "/root"}, 0, "/var/lib/swapd"),
        ({"HOME": "/home/me"}, 1000, "/home/me/.local/state/swapd"),
        ({}, 1000, "/.local/state/swapd"),
    ],
)
def test_given_the_environment_then_the_place_of_the_state(
    environ: dict[str, str], uid: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)

    assert default_state_directory(environ) == Path(expected)
