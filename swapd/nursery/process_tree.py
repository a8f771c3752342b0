"""Finding and ending every process that descends from one leader.

A signal to the process group reaches most of a tree, but not the child that made itself leader of a
group or session of its own, nor the daemon that forked twice. Those are found on Linux in /proc:

- by **parent links**, from the leader down, while it lives;
- by **session and group**, which still carry the leader's pid after it has ended (and cannot belong to
  anybody else, as the leader is reaped last);
- by the **marker**: SWAPD_INSTANCE, SWAPD_MODEL and SWAPD_GEN in the environment they were started with;
- by **memory**: whoever was once seen in the tree is in it (pid and start time, as pids come again);
- by **elimination**: an orphan whose environment tells nothing (some programs overwrite it with their
  title), when no other instance lives that it could come from.

**What this costs when there is nothing to find**, which is nearly always. The daemon is a child
subreaper, so when a process of the tree loses its parent it becomes a child of the daemon. Everything in
the tree therefore hangs below the leader or, once orphaned, below a child of the daemon that is none of
those it started itself. The kernel lists the children of a process in one small file per thread: if the
leader's are none and ours are all known, there is nothing, and /proc is not searched at all. Where the
kernel lacks those files, a search costs 5 to 10 µs for each process of the machine.

The whole of it, layer by layer, is described in docs/design/processes.md.
"""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Iterable
from contextlib import suppress

import trio
from msgspec import Struct

PROC = "/proc"
REMOVE_LIMIT_S = 2.0
_SLICE = 128
_PASSES = 4


class Marker(Struct, frozen=True):
    """What an instance's processes carry in their environment."""

    instance: str
    model: str
    gen: str

    def environment(self) -> dict[str, str]:
        return {"SWAPD_INSTANCE": self.instance, "SWAPD_MODEL": self.model, "SWAPD_GEN": self.gen}


class ProcessEntry(Struct, frozen=True):
    """One line of the process table, from /proc/PID/stat (proc_pid_stat(5))."""

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    """Clock ticks between the boot and the start: with the pid, the identity of a process."""
    alive: bool
    """False for one that has ended and waits to be reaped."""


ProcessTable = dict[int, ProcessEntry]


class OwnChildren:
    """The pids of the children the daemon has started itself and not yet reaped.

    Whoever starts one adds it, and discards it after reaping it. Everything else that turns out to be
    a child of the daemon was orphaned somewhere below and came to it because it is the subreaper.

    One exception: a program that becomes the daemon by exec hands on the children it had, as a script does
    that ends in `logger & exec swapd`. Call `expect_strangers` before anything is started.
    """

    def __init__(self) -> None:
        self._parents: set[int] = set()
        self._helpers: set[int] = set()
        self._strangers = False

    def expect_strangers(self) -> None:
        """Look whether there are children already. If so, orphans may be theirs for as long as we live."""
        self._strangers = bool(_listed_children(os.getpid()))

    def __contains__(self, pid: int) -> bool:
        return pid in self._parents or pid in self._helpers

    def add(self, pid: int) -> None:
        """One that may start processes of its own: a leader, a stop command."""
        self._parents.add(pid)

    def add_helper(self, pid: int) -> None:
        """One that starts nothing, such as the guardian."""
        self._helpers.add(pid)

    def discard(self, pid: int) -> None:
        self._parents.discard(pid)
        self._helpers.discard(pid)

    def is_only_parent(self, pid: int) -> bool:
        """Whether orphans, if there are any, can only have come from this one."""
        return not self._strangers and self._parents == {pid}


class ProcessTree:
    """The tree below one leader, valid until the leader is reaped.

    The mutable state is the memory of members seen; every look at the process table adds to it.
    `adopts_orphans` says whether this process is a child subreaper.
    """

    def __init__(self, leader: int, marker: Marker, own: OwnChildren, *, adopts_orphans: bool) -> None:
        self._leader = leader
        self._marker = marker
        self._own = own
        self._adopts_orphans = adopts_orphans
        self._seen: dict[int, int] = {}

    def signal_group(self, signal: signals.Signals) -> None:
        # ESRCH: no such group; macOS answers EPERM when nothing but zombies is left in it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._leader, signal)

    async def terminate(self) -> None:
        """SIGTERM to the group and to each member outside it.

        Those are looked for first: the group's end cuts the parent links that lead to them.
        """
        members = [] if self._is_childless() else await self._survey()
        self.signal_group(signals.SIGTERM)
        for entry in members:
            if entry.alive and entry.group != self._leader:
                signal_entry(entry, signals.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the group and to each member, the leader included. Does not wait."""
        members = [] if self._is_childless() else self._members(_entries(_pids()))
        self.signal_group(signals.SIGKILL)
        self._kill_members(members)

    async def remove(self) -> list[ProcessEntry]:
        """After the leader has ended: kill what is left, until two looks in a row find nothing.

        Returns those that still live after two seconds, which takes a process stuck in the kernel. Two
        looks, because a process can fork and end just while its surroundings are looked at.
        """
        self.signal_group(signals.SIGKILL)
        deadline = trio.current_time() + REMOVE_LIMIT_S
        pause = 0.001
        empty_looks = 0
        while True:
            left = await self._look()
            if not left:
                empty_looks += 1
                if empty_looks == 2:
                    return []
                continue
            if trio.current_time() >= deadline:
                return left
            empty_looks = 0
            self.signal_group(signals.SIGKILL)
            self._kill_members(left)
            await trio.sleep(pause)
            pause = min(2 * pause, 0.05)

    async def _look(self) -> list[ProcessEntry]:
        """The live members besides the leader, which has ended. Dead ones that came to us are reaped."""
        if self._is_childless():
            return []
        members = await self._survey()
        for entry in members:
            if not entry.alive and entry.parent == os.getpid():
                _reap(entry.pid)
        return [entry for entry in members if entry.alive]

    def _is_childless(self) -> bool:
        """Whether the leader has no descendant, as far as that can be told without a search."""
        if not self._adopts_orphans:
            return False
        adopted = _listed_children(os.getpid())
        below = _listed_children(self._leader)
        if adopted is None or below is None:
            return False
        return not below and all(pid in self._own for pid in adopted)

    async def _survey(self) -> list[ProcessEntry]:
        """Everything in the tree but the leader, dead or alive, those included that are born while we
        look: a process that forks and ends every few milliseconds is always elsewhere in one pass."""
        table: ProcessTable = {}
        members: list[ProcessEntry] = []
        for _ in range(_PASSES):
            new = await _new_entries(table)
            if not new:
                break
            table |= new
            members = self._members(table)
        return members

    @staticmethod
    def _kill_members(members: Iterable[ProcessEntry]) -> None:
        for entry in members:
            if entry.alive:
                signal_entry(entry, signals.SIGKILL)

    def _members(self, table: ProcessTable) -> list[ProcessEntry]:
        """Everything in the tree but the leader, dead or alive."""
        children = _children_by_parent(table)
        if self._adopts_orphans:
            candidates = _descendants(os.getpid(), children, stop_at=self._own)
        else:
            candidates = list(table.values())
        leader = table.get(self._leader)
        leader_start = leader.start_ticks if leader else 0
        members: dict[int, ProcessEntry] = {}
        for entry in _descendants(self._leader, children, stop_at=self._own):
            members[entry.pid] = entry
        for entry in candidates:
            if entry.pid not in members and self._belongs(entry, leader_start):
                members[entry.pid] = entry
                for below in _descendants(entry.pid, children, stop_at=self._own):
                    members[below.pid] = below
        self._seen.update((entry.pid, entry.start_ticks) for entry in members.values())
        return list(members.values())

    def _belongs(self, entry: ProcessEntry, leader_start: int) -> bool:
        if entry.start_ticks < leader_start or entry.pid in self._own or entry.pid == os.getpid():
            return False
        if self._leader in (entry.group, entry.session):
            return True
        if self._seen.get(entry.pid) == entry.start_ticks:
            return True
        if not entry.alive:
            return False
        marker = read_marker(entry.pid)
        if marker is None:
            return self._can_only_be_ours(entry)
        return marker == self._marker

    def _can_only_be_ours(self, entry: ProcessEntry) -> bool:
        # Children that other parts of the daemon start without telling us share the daemon's session;
        # as PID 1 of a container the daemon is also given orphans that never were below it.
        return (
            self._adopts_orphans
            and os.getpid() != 1
            and entry.parent == os.getpid()
            and entry.session != os.getsid(0)
            and self._own.is_only_parent(self._leader)
        )


def read_entry(pid: int) -> ProcessEntry | None:
    """The table's line for one pid; None if there is no such process, or no /proc."""
    stat = _read(f"{PROC}/{pid}/stat")
    if stat is None:
        return None
    # The second field is the program's name in parentheses; it may hold blanks and parentheses itself.
    fields = stat[stat.rindex(b")") + 2 :].split(b" ", 20)
    state, threads = fields[0], int(fields[17])
    return ProcessEntry(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
        # A main thread that ended before the others shows as a zombie while the process lives on.
        alive=state not in b"ZX" or threads > 1,
    )


def read_marker(pid: int) -> Marker | None:
    """The marker in the environment a process was started with; None if it has none or is not ours to
    read."""
    environment = _read(f"{PROC}/{pid}/environ")
    if environment is None:
        return None
    found: dict[bytes, str] = {}
    for item in environment.split(b"\0"):
        name, _, value = item.partition(b"=")
        if name.startswith(b"SWAPD_"):
            found[name] = os.fsdecode(value)
    try:
        return Marker(found[b"SWAPD_INSTANCE"], found[b"SWAPD_MODEL"], found[b"SWAPD_GEN"])
    except KeyError:
        return None


def signal_entry(entry: ProcessEntry, signal: signals.Signals) -> None:
    """Signal the process that `entry` describes, and not another that got its pid since."""
    try:
        pidfd = os.pidfd_open(entry.pid)
    except ProcessLookupError:
        return
    except OSError:  # no pidfds here: then by number, the time from the look to the signal being short
        pidfd = None
    try:
        now = read_entry(entry.pid)
        if now is None or now.start_ticks != entry.start_ticks:
            return
        if pidfd is None:
            os.kill(entry.pid, signal)
        else:
            signals.pidfd_send_signal(pidfd, signal)
    except OSError:
        pass  # gone, or of another user (a set-user-ID program)
    finally:
        if pidfd is not None:
            os.close(pidfd)


async def _new_entries(known: ProcessTable) -> ProcessTable:
    """What is in the process table now and not in `known`; lets others run every millisecond or so."""
    new: ProcessTable = {}
    pids = [pid for pid in _pids() if pid not in known]
    for start in range(0, len(pids), _SLICE):
        await trio.lowlevel.checkpoint()
        new |= _entries(pids[start : start + _SLICE])
    return new


def _entries(pids: Iterable[int]) -> ProcessTable:
    return {pid: entry for pid in pids if (entry := read_entry(pid))}


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir(PROC) if name.isdecimal()]  # noqa: PTH208 - names, fast
    except OSError:  # macOS
        return []


def _children_by_parent(table: ProcessTable) -> dict[int, list[ProcessEntry]]:
    children: dict[int, list[ProcessEntry]] = {}
    for entry in table.values():
        children.setdefault(entry.parent, []).append(entry)
    return children


def _descendants(
    root: int, children: dict[int, list[ProcessEntry]], *, stop_at: OwnChildren
) -> list[ProcessEntry]:
    """Everything below `root`, without entering what the daemon itself has started."""
    found: list[ProcessEntry] = []
    parents = [root]
    while parents:
        for entry in children.get(parents.pop(), ()):
            if entry.pid not in stop_at:
                found.append(entry)
                parents.append(entry.pid)
    return found


def _listed_children(pid: int) -> list[int] | None:
    """The children of a process, from /proc/PID/task/TID/children (proc_tid_children(5)); None if it
    has gone or the kernel was built without that file (CONFIG_PROC_CHILDREN)."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"{PROC}/{pid}/task"):  # noqa: PTH208 - names, fast
            listed = _read(f"{PROC}/{pid}/task/{thread}/children")
            if listed is None:
                return None
            children += map(int, listed.split())
    except OSError:
        return None
    return children


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # the daemon's reaper was faster
        os.waitpid(pid, os.WNOHANG)


def _read(path: str) -> bytes | None:
    """A file of /proc, whole. With bare descriptors: five times as fast as a file object."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:  # it ended while we read
        return None
    finally:
        os.close(descriptor)
