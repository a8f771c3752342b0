"""What a daemon writes down, and what the next one makes of it."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from swapd.supervision.records import InstanceRecord, Leftovers, Records, boot_id

DEAD = "7a31b7b0-e744-4182-8b20-fe6a5de195cf"
"""The uuid of a daemon that was killed."""


@frozen
class Launched:
    """What the launcher would say about an instance."""

    model: str = "owl"
    gen: int = 3
    own_port: int | None = 5800
    stop_argv: tuple[str, ...] = ("docker", "stop", "owl")


class Daemon:
    """One daemon's view of the state directory."""

    def __init__(self, directory: Path | None) -> None:
        self.instance = str(uuid.uuid4())
        self.warnings: list[str] = []
        self.records = Records(directory, self.instance, self.warnings.append)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "instances").mkdir()
    return tmp_path


def files(state: Path) -> list[str]:
    return sorted(str(path.relative_to(state)) for path in state.rglob("*") if not path.is_dir())


def content(path: Path) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(path.read_text())
    return decoded


def write_daemon(state: Path, **changes: Any) -> None:
    record = {"instance": DEAD, "pid": 4711, "start_ticks": 1, "boot_id": boot_id(), "dead": []}
    (state / "daemon.json").write_text(json.dumps({**record, **changes}))


def write_instance(state: Path, number: int = 1, **changes: Any) -> Path:
    record = {
        "model": "owl",
        "gen": 1,
        "instance": DEAD,
        "pid": 4712,
        "start_ticks": 1,
        "boot_id": boot_id(),
        "group": 4712,
        "port": None,
        "stop_argv": [],
    }
    path = state / "instances" / f"{DEAD}-{number}.json"
    path.write_text(json.dumps({**record, **changes}))
    return path


# --- a daemon that ends in order ------------------------------------------------------------------------


def test_given_an_empty_directory_then_nothing_is_left_and_our_run_is_noted(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)

    left = daemon.records.begin()

    assert left == Leftovers()
    assert content(tmp_path / "daemon.json")["instance"] == daemon.instance
    assert content(tmp_path / "daemon.json")["pid"] == os.getpid()
    assert daemon.warnings == []


def test_given_a_started_instance_then_all_that_identifies_it_is_on_record(state: Path) -> None:
    daemon = Daemon(state)
    daemon.records.begin()

    daemon.records.written(Launched(), os.getpid())

    record = content(state / "instances" / f"{daemon.instance}-1.json")
    assert record.pop("start_ticks") > 0
    assert record == {
        "model": "owl",
        "gen": 3,
        "instance": daemon.instance,
        "pid": os.getpid(),
        "boot_id": boot_id(),
        "group": os.getpid(),
        "port": 5800,
        "stop_argv": ["docker", "stop", "owl"],
    }


def test_given_records_then_only_we_can_read_them(state: Path) -> None:
    daemon = Daemon(state)
    daemon.records.begin()
    daemon.records.written(Launched(), os.getpid())

    assert {path.stat().st_mode & 0o777 for path in state.rglob("*.json")} == {0o600}


def test_given_a_whole_life_then_no_file_is_left(state: Path) -> None:
    daemon = Daemon(state)
    daemon.records.begin()
    daemon.records.written(Launched(gen=1), 100)
    daemon.records.written(Launched(gen=2), 200)
    daemon.records.removed(Launched(gen=1), 100)
    assert files(state) == ["daemon.json", f"instances/{daemon.instance}-2.json"]

    daemon.records.removed(Launched(gen=2), 200)
    daemon.records.removed(Launched(gen=2), 200)
    daemon.records.end()

    assert files(state) == []
    assert Daemon(state).records.begin() == Leftovers()


def test_given_an_instance_that_could_not_be_removed_then_the_next_daemon_knows(state: Path) -> None:
    daemon = Daemon(state)
    daemon.records.begin()
    daemon.records.written(Launched(), os.getpid())

    daemon.records.end()

    left = Daemon(state).records.begin()
    assert left.instances == {daemon.instance}
    assert [each.record.model for each in left.records] == ["owl"]


def test_given_no_directory_then_everything_works_and_nothing_is_kept() -> None:
    daemon = Daemon(None)

    left = daemon.records.begin()
    daemon.records.swept(left)
    daemon.records.written(Launched(), os.getpid())
    daemon.records.removed(Launched(), os.getpid())
    daemon.records.end()

    assert left == Leftovers()
    assert daemon.warnings == []


# --- after one that did not -----------------------------------------------------------------------------


def test_given_a_daemon_that_was_killed_then_its_uuid_and_its_records_are_found(state: Path) -> None:
    killed = Daemon(state)
    killed.records.begin()
    killed.records.written(Launched(), os.getpid())

    left = Daemon(state).records.begin()

    assert left.daemon_pid == os.getpid()
    assert left.instances == {killed.instance}
    assert [each.record for each in left.records] == [
        InstanceRecord(
            model="owl",
            gen=3,
            instance=killed.instance,
            pid=os.getpid(),
            start_ticks=content(left.records[0].path)["start_ticks"],
            boot_id=boot_id(),
            group=os.getpid(),
            port=5800,
            stop_argv=("docker", "stop", "owl"),
        )
    ]
    assert left.problems == ()


def test_given_a_daemon_that_is_killed_before_its_sweep_is_over_then_the_next_goes_on(state: Path) -> None:
    write_daemon(state)
    second = Daemon(state)
    second.records.begin()  # and is killed

    third = Daemon(state)
    assert third.records.begin().instances == {DEAD, second.instance}


def test_given_a_sweep_that_is_over_then_its_daemons_are_forgotten(state: Path) -> None:
    write_daemon(state)
    write_instance(state)
    second = Daemon(state)
    second.records.swept(second.records.begin())

    assert files(state) == ["daemon.json"]
    assert Daemon(state).records.begin().instances == {second.instance}


def test_given_processes_that_the_sweep_could_not_end_then_they_stay_on_record(state: Path) -> None:
    write_daemon(state)
    path = write_instance(state)
    second = Daemon(state)
    second.records.swept(second.records.begin(), survivors=[DEAD])

    assert path.exists()
    assert Daemon(state).records.begin().instances == {DEAD, second.instance}


def test_given_a_machine_that_was_booted_since_then_there_is_nothing_to_sweep(state: Path) -> None:
    write_daemon(state, boot_id="an earlier one")
    path = write_instance(state, boot_id="an earlier one")
    daemon = Daemon(state)

    left = daemon.records.begin()
    daemon.records.swept(left)

    assert (left.daemon_pid, left.instances, left.records, left.problems) == (None, frozenset(), (), ())
    assert not path.exists()


def test_given_a_file_that_was_never_finished_then_it_is_removed_without_a_word(state: Path) -> None:
    path = state / "instances" / f"{DEAD}-1.json.tmp"
    path.write_text('{"mod')
    daemon = Daemon(state)

    left = daemon.records.begin()
    daemon.records.swept(left)

    assert left.problems == ()
    assert not path.exists()


# --- what cannot be believed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "\x00\xff",
        '{"model": "owl"}',
        "no json",
        json.dumps({"instance": DEAD, "pid": "4712"}),
    ],
)
def test_given_a_damaged_record_then_its_name_still_says_whose_processes_to_look_for(
    damage: str, state: Path
) -> None:
    path = state / "instances" / f"{DEAD}-1.json"
    path.write_text(damage)
    daemon = Daemon(state)

    left = daemon.records.begin()
    assert left.instances == {DEAD}
    assert left.records == ()
    assert len(left.problems) == 1
    assert f"the state record {path} is damaged" in left.problems[0]

    daemon.records.swept(left)
    assert not path.exists()


@pytest.mark.parametrize(
    "changes", [{"instance": "2f1ce5ac-95a4-4c65-9b5c-dc2dbd3b0fd7"}, {"pid": 1}, {"pid": -1}, {"pid": 0}]
)
def test_given_a_record_that_contradicts_itself_then_it_counts_as_damaged(
    changes: dict[str, Any], state: Path
) -> None:
    write_instance(state, **changes)

    left = Daemon(state).records.begin()

    assert left.records == ()
    assert "it contradicts itself" in left.problems[0]


def test_given_files_of_others_then_they_are_reported_and_left_alone(state: Path) -> None:
    (state / "instances" / "notes.txt").write_text("mine")
    (state / "instances" / f"{DEAD}-1.json").mkdir()
    (state / "instances" / f"{DEAD}-2.json").symlink_to("/etc/hostname")
    os.mkfifo(state / "instances" / f"{DEAD}-3.json")
    daemon = Daemon(state)

    left = daemon.records.begin()
    daemon.records.swept(left)

    assert len(left.problems) == 4
    assert all("left alone" in problem for problem in left.problems)
    assert (left.instances, left.records) == (frozenset(), ())
    assert len(list((state / "instances").iterdir())) == 4
    assert daemon.warnings == []


def test_given_a_record_of_another_user_then_it_is_not_believed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_daemon(state)
    path = write_instance(state, stop_argv=["touch", "/tmp/owned"])
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    daemon = Daemon(state)

    left = daemon.records.begin()
    daemon.records.swept(left)
    daemon.records.end()

    assert (left.instances, left.records) == (frozenset(), ())
    assert all("it belongs to another user" in problem for problem in left.problems)
    assert path.exists()
    assert content(state / "daemon.json")["instance"] == DEAD
    assert "a file of another user is in its place" in daemon.warnings[0]


def test_given_a_damaged_note_of_the_last_daemon_then_it_is_reported_and_written_anew(state: Path) -> None:
    (state / "daemon.json").write_text("{")
    daemon = Daemon(state)

    left = daemon.records.begin()

    assert "daemon.json is damaged" in left.problems[0]
    assert content(state / "daemon.json")["instance"] == daemon.instance


def test_given_a_note_with_something_else_than_uuids_then_nobody_is_looked_for(state: Path) -> None:
    write_daemon(state, instance="", dead=["x", DEAD])

    assert Daemon(state).records.begin().instances == {DEAD}


def test_given_a_directory_that_cannot_be_written_then_each_failure_is_told_and_none_is_fatal(
    tmp_path: Path,
) -> None:
    (tmp_path / "instances").write_text("a file")
    (tmp_path / "daemon.json").mkdir()
    daemon = Daemon(tmp_path)

    left = daemon.records.begin()
    daemon.records.written(Launched(), os.getpid())
    daemon.records.removed(Launched(), os.getpid())
    daemon.records.swept(left)
    daemon.records.end()

    assert len(left.problems) == 2
    assert all(warning.startswith("cannot write") for warning in daemon.warnings)
    assert files(tmp_path) == ["instances"]
