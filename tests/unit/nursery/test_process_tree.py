"""Who is in the tree, decided on process tables that are written down instead of run.

The same on real processes: tests/real/test_process_tree.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapd.nursery import process_tree
from swapd.nursery.process_tree import Marker, OwnChildren, ProcessTree, read_entry, read_marker

LEADER = 100
OTHER_LEADER = 200
MARKER = Marker("uuid", "owl", "7")


class ProcessTable:
    """A /proc of our own. The daemon's line is that of this process."""

    def __init__(self, root: Path, *, lists_children: bool) -> None:
        self._root = root
        self._lists_children = lists_children
        self.daemon = os.getpid()
        self.add(self.daemon, parent=1, group=self.daemon, session=os.getsid(0), start=50)
        self.add(LEADER, parent=self.daemon, start=1000, marker=MARKER)

    def add(
        self,
        pid: int,
        *,
        parent: int,
        group: int | None = None,
        session: int | None = None,
        start: int = 2000,
        state: str = "S",
        threads: int = 1,
        marker: Marker | None = None,
        name: str = "a) (b",
    ) -> None:
        group = pid if group is None else group
        session = group if session is None else session
        task = self._root / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        fields = ["0"] * 40
        fields[0:4] = [state, str(parent), str(group), str(session)]
        fields[17], fields[19] = str(threads), str(start)
        (task.parent.parent / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        environment = {"HOME": "/root"} | (marker.environment() if marker else {})
        text = "".join(f"{key}={value}\0" for key, value in environment.items())
        (task.parent.parent / "environ").write_text(text)
        if self._lists_children:
            (task / "children").write_text("")
            of_parent = self._root / str(parent) / "task" / str(parent) / "children"
            if of_parent.exists():
                of_parent.write_text(f"{of_parent.read_text()}{pid} ")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessTable:
    monkeypatch.setattr(process_tree, "PROC", str(tmp_path))
    return ProcessTable(tmp_path, lists_children=False)


@pytest.fixture
def listing_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessTable:
    """The same on a kernel that lists the children of a process."""
    monkeypatch.setattr(process_tree, "PROC", str(tmp_path))
    return ProcessTable(tmp_path, lists_children=True)


async def members(*, adopts_orphans: bool = True, own: OwnChildren | None = None) -> set[int]:
    return {entry.pid for entry in await tree(adopts_orphans=adopts_orphans, own=own)._survey()}


def tree(*, adopts_orphans: bool = True, own: OwnChildren | None = None) -> ProcessTree:
    if own is None:
        own = OwnChildren()
        own.add(LEADER)
    return ProcessTree(LEADER, MARKER, own, adopts_orphans=adopts_orphans)


async def test_descendants_by_parent_links_are_members_whatever_their_group_and_environment(
    table: ProcessTable,
) -> None:
    table.add(101, parent=LEADER, group=LEADER)
    table.add(102, parent=101)
    table.add(103, parent=102, start=2001)
    table.add(300, parent=1, start=3000)

    assert await members() == {101, 102, 103}
    assert await members(adopts_orphans=False) == {101, 102, 103}


async def test_orphans_in_the_session_of_the_leader_are_members(table: ProcessTable) -> None:
    table.add(101, parent=table.daemon, group=101, session=LEADER)
    table.add(102, parent=table.daemon, group=LEADER)

    assert await members() == {101, 102}


async def test_orphans_with_our_marker_are_members_and_so_is_all_below_them(table: ProcessTable) -> None:
    table.add(101, parent=table.daemon, marker=MARKER)
    table.add(102, parent=101)

    assert await members() == {101, 102}


async def test_given_no_subreaper_then_orphans_are_found_below_pid_1(table: ProcessTable) -> None:
    table.add(101, parent=1, marker=MARKER)
    table.add(102, parent=101)
    table.add(103, parent=1)

    assert await members(adopts_orphans=False) == {101, 102}


@pytest.mark.parametrize(
    "marker", [Marker("uuid", "owl", "6"), Marker("uuid", "wren", "7"), Marker("another daemon", "owl", "7")]
)
async def test_orphans_with_another_marker_are_not_members(table: ProcessTable, marker: Marker) -> None:
    table.add(101, parent=table.daemon, marker=marker)

    assert await members() == set()


async def test_what_is_older_than_the_leader_is_no_member(table: ProcessTable) -> None:
    table.add(101, parent=table.daemon, marker=MARKER, start=999)

    assert await members() == set()


async def test_given_one_instance_then_an_unmarked_orphan_can_only_be_its(table: ProcessTable) -> None:
    table.add(101, parent=table.daemon)
    table.add(102, parent=table.daemon, session=os.getsid(0))  # something the daemon itself runs

    assert await members() == {101}


async def test_given_another_instance_then_an_unmarked_orphan_may_be_its(table: ProcessTable) -> None:
    table.add(OTHER_LEADER, parent=table.daemon, marker=Marker("uuid", "wren", "1"))
    table.add(101, parent=table.daemon)
    own = OwnChildren()
    own.add(LEADER)
    own.add(OTHER_LEADER)

    assert await members(own=own) == set()


async def test_given_a_helper_that_starts_nothing_then_it_explains_no_orphan(table: ProcessTable) -> None:
    table.add(150, parent=table.daemon, start=1500)
    table.add(101, parent=table.daemon)
    own = OwnChildren()
    own.add(LEADER)
    own.add_helper(150)

    assert await members(own=own) == {101}


async def test_who_was_seen_once_is_recognised_when_the_links_are_cut(table: ProcessTable) -> None:
    table.add(OTHER_LEADER, parent=table.daemon, marker=Marker("uuid", "wren", "1"))
    table.add(101, parent=LEADER)
    own = OwnChildren()
    own.add(LEADER)
    own.add(OTHER_LEADER)
    seen = tree(own=own)
    await seen._survey()
    stat = Path(process_tree.PROC) / "101" / "stat"
    stat.write_text(stat.read_text().replace(f" S {LEADER} ", f" S {table.daemon} "))

    assert [entry.pid for entry in await seen._survey()] == [101]


@pytest.mark.parametrize(
    ("state", "threads", "alive"), [("S", 1, True), ("Z", 1, False), ("Z", 2, True), ("X", 1, False)]
)
def test_a_zombie_is_dead_unless_other_threads_go_on(
    table: ProcessTable, state: str, threads: int, alive: bool
) -> None:
    table.add(101, parent=LEADER, state=state, threads=threads)
    entry = read_entry(101)

    assert entry is not None
    assert entry.alive is alive


def test_given_no_such_process_then_there_is_no_line_and_no_marker(table: ProcessTable) -> None:
    assert read_entry(4242) is None
    assert read_marker(4242) is None
    assert read_marker(LEADER) == MARKER


# -- without a search


async def test_given_only_known_children_then_nothing_is_searched(listing_table: ProcessTable) -> None:
    assert tree()._is_childless()
    assert await tree().remove() == []


@pytest.mark.parametrize("parent", ["leader", "daemon"])
def test_given_a_child_of_the_leader_or_an_adopted_one_then_a_search_is_needed(
    listing_table: ProcessTable, parent: str
) -> None:
    listing_table.add(101, parent=LEADER if parent == "leader" else listing_table.daemon)

    assert not tree()._is_childless()


def test_given_no_subreaper_or_no_such_files_then_a_search_is_needed(
    listing_table: ProcessTable, tmp_path: Path
) -> None:
    assert not tree(adopts_orphans=False)._is_childless()
    (tmp_path / str(LEADER) / "task" / str(LEADER) / "children").unlink()
    assert not tree()._is_childless()
