"""Changes of the sources are noticed, once, and only when they have come to rest. Time is a number here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from swapd.config import Sources, load
from swapd.config.watch import MISSING_GRACE_S, SETTLE_LIMIT_S, SETTLE_S, SourceWatch, Step


@define(eq=False)
class Watched:
    """A watch over files of a test, whose own clock moves by what each step asks to wait."""

    watch: SourceWatch
    directory: Path
    now: float = 100.0
    writes: Iterator[int] = field(factory=lambda: iter(range(1, 10_000)))

    def write(self, name: str, text: str) -> Path:
        """Write in place. Each write has a time stamp of its own, as the real ones seconds apart have."""
        path = self.directory / name
        path.write_text(text)
        stamp = 1_700_000_000 + next(self.writes)
        os.utime(path, (stamp, stamp))
        return path

    def replace(self, name: str, text: str) -> Path:
        """Write a new file and rename it over the old one, as most editors do."""
        self.write(name + ".tmp", text)
        return (self.directory / (name + ".tmp")).rename(self.directory / name)

    def step(self) -> Step:
        step = self.watch.step(self.now)
        self.now += step.wait_s
        return step

    def until_change(self, limit_s: float = 30.0) -> bool:
        """True when a change is reported within the time."""
        end = self.now + limit_s
        while self.now < end:
            if self.step().changed:
                return True
        return False

    def loaded(self) -> None:
        """What the daemon does after a reload."""
        files = load(self.watch.sources, environ={}).files
        self.watch.applied({file.path: file.sha256 for file in files}, self.watch.also)

    @property
    def calm(self) -> bool:
        """True when two steps in a row find nothing."""
        return not any(step.changed or step.trouble for step in (self.step(), self.step(), self.step()))


@pytest.fixture
def file(tmp_path: Path) -> Watched:
    """One file that was loaded."""
    watched = Watched(SourceWatch(Sources((tmp_path / "c.yaml",))), tmp_path)
    watched.write("c.yaml", "globalTTL: 1")
    watched.loaded()
    return watched


@pytest.fixture
def directory(tmp_path: Path) -> Watched:
    """A directory of two files that were loaded."""
    watched = Watched(SourceWatch(Sources(directory=tmp_path)), tmp_path)
    watched.write("a.yaml", "globalTTL: 1")
    watched.write("b.yaml", "startPort: 6000")
    watched.loaded()
    return watched


def test_the_first_look_changes_nothing(file: Watched) -> None:
    assert file.calm


def test_at_rest_it_looks_at_the_interval(file: Watched) -> None:
    assert file.calm
    assert file.step() == Step(2.0)


def test_an_interval_too_short_is_raised() -> None:
    assert SourceWatch(Sources(), interval_s=0.01).interval_s == 0.2
    watch = SourceWatch(Sources())
    watch.interval_s = 0.0
    assert watch.interval_s == 0.2


@pytest.mark.parametrize("how", ["write", "replace"])
def test_a_change_is_reported_once(how: str, file: Watched) -> None:
    # Given a file at rest
    assert file.calm

    # When it is written in place, or replaced by another
    getattr(file, how)("c.yaml", "globalTTL: 2")

    # Then that is a change, and not again after the reload
    assert file.until_change()
    file.loaded()
    assert file.calm


def test_a_change_before_the_first_look_is_not_lost(file: Watched) -> None:
    file.write("c.yaml", "globalTTL: 2")
    assert file.until_change()


def test_equal_contents_are_no_change(file: Watched) -> None:
    assert file.calm

    file.write("c.yaml", "globalTTL: 1")
    assert file.calm
    file.replace("c.yaml", "globalTTL: 1")
    assert file.calm
    os.utime(file.directory / "c.yaml")
    assert file.calm


def test_a_file_that_goes_on_changing_is_waited_for(file: Watched) -> None:
    # Given a file that grows at every look, much longer than anything should take
    assert file.calm
    text = "globalTTL: 2"
    while file.now < 100.0 + 4 * SETTLE_LIMIT_S:
        text += " #"
        file.write("c.yaml", text)
        # Then its halves are not taken
        assert not file.step().changed

    # And it is taken when it stands still
    assert file.until_change(1.0)


def test_a_second_edit_right_after_the_first_is_the_one_that_counts(file: Watched) -> None:
    # Given an edit that was seen, when another follows before it was taken
    assert file.calm
    file.write("c.yaml", "globalTTL: 2")
    assert file.step() == Step(SETTLE_S)
    file.write("c.yaml", "globalTTL: 3")

    # Then one change is reported, with the contents of the second
    assert file.step() == Step(SETTLE_S)
    assert file.step().changed
    assert file.watch.is_what_settled({file.directory / "c.yaml": digest("globalTTL: 3")})
    assert not file.watch.is_what_settled({file.directory / "c.yaml": digest("globalTTL: 2")})


def test_a_file_touched_all_the_time_is_seen_through(file: Watched) -> None:
    # Given a tool that touches the file at every look, after one edit
    assert file.calm
    file.write("c.yaml", "globalTTL: 2")

    changed_at = 0.0
    start = file.now
    while not changed_at and file.now < start + 3 * SETTLE_LIMIT_S:
        file.write("c.yaml", "globalTTL: 2")
        at = file.now
        changed_at = at if file.step().changed else 0.0

    # Then the edit is taken after the limit
    assert SETTLE_LIMIT_S <= changed_at - start < SETTLE_LIMIT_S + 1.0


def test_a_missing_file_is_reported_after_a_while_and_once(file: Watched) -> None:
    # Given a file that is gone
    assert file.calm
    (file.directory / "c.yaml").unlink()
    start = file.now

    # When time goes by
    troubles = []
    while file.now < start + 3 * MISSING_GRACE_S:
        at = file.now
        step = file.step()
        assert not step.changed
        if step.trouble:
            troubles.append((at - start, step.trouble))

    # Then it is said once, after the grace time, and never a change
    ((after_s, text),) = troubles
    assert MISSING_GRACE_S <= after_s <= MISSING_GRACE_S + 2.0
    assert "c.yaml is missing" in text
    assert "stays" in text


def test_a_file_that_comes_back_is_a_change_only_if_it_differs(file: Watched) -> None:
    assert file.calm
    (file.directory / "c.yaml").unlink()
    assert file.calm
    file.write("c.yaml", "globalTTL: 1")
    assert file.calm
    (file.directory / "c.yaml").unlink()
    assert file.calm
    file.write("c.yaml", "globalTTL: 2")
    assert file.until_change()


def test_an_emptied_file_is_not_taken(file: Watched) -> None:
    # Given an editor that empties the file before it writes
    assert file.calm
    file.write("c.yaml", "")
    assert file.calm

    # Then only what it writes counts
    file.write("c.yaml", "globalTTL: 2")
    assert file.until_change()


def test_an_emptied_file_of_a_directory_is_not_taken_either(directory: Watched) -> None:
    assert directory.calm
    directory.write("a.yaml", "")
    assert directory.calm
    start = directory.now
    troubles = []
    while directory.now < start + 2 * MISSING_GRACE_S:
        troubles.append(directory.step().trouble)
    assert any("a.yaml is empty" in text for text in troubles)


def test_a_file_that_was_empty_all_along_is_no_trouble(directory: Watched) -> None:
    directory.write("empty.yaml", "")
    assert directory.until_change()
    directory.loaded()
    assert directory.calm
    directory.write("a.yaml", "globalTTL: 5")
    assert directory.until_change()


@pytest.mark.parametrize("name", ["c.yaml", "c.yml", ".hidden.yaml"])
def test_a_file_that_comes_into_a_directory_or_leaves_it_is_a_change(name: str, directory: Watched) -> None:
    assert directory.calm
    path = directory.write(name, "logLevel: warn")
    assert directory.until_change()
    directory.loaded()
    path.unlink()
    assert directory.until_change()


@pytest.mark.parametrize("name", ["c.yaml~", ".c.yaml.swp", "4913", "c.yaml.tmp", "notes.txt", "C.YAML"])
def test_other_files_of_a_directory_do_not_matter(name: str, directory: Watched) -> None:
    assert directory.calm
    directory.write(name, "logLevel: warn")
    assert directory.calm


def test_a_directory_that_is_gone_or_emptied_is_waited_for(directory: Watched) -> None:
    assert directory.calm
    for path in list(directory.directory.iterdir()):
        path.unlink()
    assert directory.step() == Step(2.0)
    directory.directory.rmdir()
    assert directory.step() == Step(2.0)
    directory.directory.mkdir()
    directory.write("a.yaml", "globalTTL: 7")
    assert directory.until_change()


def test_a_symlink_that_is_turned_elsewhere_is_a_change(tmp_path: Path) -> None:
    # Given a config map: the file is a symlink through another one, which is swapped as a whole
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.yaml").write_text(f"globalTTL: {version[1]}")
    (tmp_path / "current").symlink_to("v1")
    (tmp_path / "c.yaml").symlink_to("current/c.yaml")
    watched = Watched(SourceWatch(Sources((tmp_path / "c.yaml",))), tmp_path)
    watched.loaded()
    assert watched.calm

    # When it is swapped
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").rename(tmp_path / "current")

    # Then that is a change
    assert watched.until_change()


def test_key_files_are_watched_too(file: Watched) -> None:
    key = file.write("key", "one")
    file.watch.also = (key, file.directory / "not-there.pem")
    file.loaded()
    assert file.calm

    file.write("key", "two")

    assert file.until_change()
    file.loaded()
    assert file.calm


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
