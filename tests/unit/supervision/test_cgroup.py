"""Where a control group may be used; what happens in one is shown with a real one in tests/real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapd.supervision.cgroup import InstanceCgroups, delegated_cgroup

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 24 0:27 {root} {mount_point} rw,nosuid shared:4 - cgroup2 cgroup2 rw
"""


class Machine:
    """A pretended /proc/self and control group."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc = directory / "proc"
        self.mount_point = directory / "cgroup fs"
        self.attributes: dict[str, dict[str, bytes]] = {}
        self.proc.mkdir()
        self.mount_point.mkdir()
        monkeypatch.setattr(os, "getxattr", self._getxattr)

    def place(self, own: str, *, root: str = "/") -> Path:
        """Put us into the group `own`, the hierarchy being shown from `root` on."""
        (self.proc / "cgroup").write_text(f"4:memory:/elsewhere\n0::{own}\n")
        escaped = str(self.mount_point).replace(" ", "\\040")
        (self.proc / "mountinfo").write_text(MOUNTS.format(root=root, mount_point=escaped))
        return self.mount_point / own.removeprefix(root).lstrip("/")

    def delegate(self, group: Path, attribute: str, value: bytes = b"1") -> None:
        self.attributes[str(group)] = {attribute: value}

    def _getxattr(self, path: Path, name: str) -> bytes:
        try:
            return self.attributes[str(path)][name]
        except KeyError:
            raise OSError(61, "No data available") from None


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize("attribute", ["user.delegate", "trusted.delegate"])
def test_given_a_unit_with_delegation_then_its_group_is_ours(machine: Machine, attribute: str) -> None:
    group = machine.place("/system.slice/swapd.service")
    machine.delegate(group, attribute)

    assert delegated_cgroup(machine.proc) == group


def test_given_a_part_of_the_hierarchy_in_a_container_then_the_path_is_relative_to_it(
    machine: Machine,
) -> None:
    group = machine.place("/machine/box/swapd", root="/machine/box")
    machine.delegate(group, "user.delegate")

    assert delegated_cgroup(machine.proc) == machine.mount_point / "swapd"


def test_given_no_delegation_then_the_group_is_not_touched(machine: Machine) -> None:
    machine.place("/user.slice/session-1.scope")

    assert delegated_cgroup(machine.proc) is None


def test_given_a_group_that_is_marked_as_not_delegated_then_it_is_not_touched(machine: Machine) -> None:
    machine.delegate(machine.place("/system.slice/swapd.service"), "user.delegate", b"0")

    assert delegated_cgroup(machine.proc) is None


def test_given_a_group_outside_of_what_is_shown_then_there_is_none(machine: Machine) -> None:
    machine.place("/../outside", root="/machine/box")

    assert delegated_cgroup(machine.proc) is None


@pytest.mark.parametrize(
    ("groups", "mounts"),
    [
        ("4:memory:/elsewhere\n", MOUNTS),  # cgroup v1 only
        ("0::/\n", ""),
        (None, MOUNTS),  # no /proc, as on macOS
    ],
)
def test_given_no_cgroup_v2_then_there_is_none(machine: Machine, groups: str | None, mounts: str) -> None:
    if groups is not None:
        (machine.proc / "cgroup").write_text(groups)
    (machine.proc / "mountinfo").write_text(mounts)

    assert delegated_cgroup(machine.proc) is None


def test_given_no_delegated_group_then_nothing_happens() -> None:
    warnings: list[str] = []
    cgroups = InstanceCgroups(None, "uuid", warnings.append)

    cgroups.add(os.getpid())
    cgroups.kill(os.getpid())
    cgroups.remove(os.getpid())
    cgroups.remove_left(["uuid"])

    assert warnings == []


def test_given_a_group_that_does_not_obey_then_it_is_told_once_and_nothing_fails(tmp_path: Path) -> None:
    warnings: list[str] = []
    cgroups = InstanceCgroups(tmp_path, "uuid", warnings.append)  # a directory, but no control group

    cgroups.add(123)
    cgroups.add(124)
    cgroups.kill(123)
    cgroups.remove(123)
    cgroups.remove(124)

    assert len(warnings) == 1
    assert "cannot give a process a control group of its own" in warnings[0]
    assert list(tmp_path.iterdir()) == []
