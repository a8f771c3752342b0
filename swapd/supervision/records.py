"""What a daemon writes down about its processes, for the daemon that comes after it.

    STATE/lock                      who holds the directory (`swapd.supervision.state_directory`)
    STATE/daemon.json               there while a daemon runs, and after one that did not end in order
    STATE/instances/UUID-N.json     one for each instance, from its spawn to its last process

A daemon that ends in order removes all of its files. So the next one sees at a glance, without a look at any
process, that there is nothing to do; else it gets `Leftovers` for its sweep (`swapd.supervision.sweep`).

**What is believed.** A record makes the next daemon run a command, and as its user. So it counts only if it
is a regular file that belongs to us. A file with one of our names that cannot be understood still says, by
its name, whose processes to look for; any other file is reported and left alone. Files are replaced by
renaming, so a reader sees one whole version or another. They are not synced to the disk: after a power cut
there is no process left, and the boot id says so.

The whole of it, layer by layer, is described in docs/design/processes.md.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from swapd.supervision.marked_processes import read_file, read_stat

_DAEMON: Final = "daemon.json"
_INSTANCES: Final = "instances"
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_RECORD_NAME: Final = re.compile(rf"({_UUID})-[0-9]+\.json")
_TEMPORARY_NAME: Final = re.compile(rf"{_UUID}-[0-9]+\.json\.tmp")
_LARGEST: Final = 256 * 1024
_Record = TypeVar("_Record", "InstanceRecord", "DaemonRecord")


class InstanceRecord(msgspec.Struct, frozen=True):
    """One instance: what it takes to recognise its leader again, and to stop it."""

    model: str
    gen: int
    instance: str
    """The uuid of the daemon, as in the marker."""
    pid: int
    start_ticks: int
    """When the leader started, in clock ticks since the boot."""
    boot_id: str
    group: int
    port: int | None
    stop_argv: tuple[str, ...]


class DaemonRecord(msgspec.Struct, frozen=True):
    """One daemon, and the dead ones before it whose processes were not yet seen to be gone."""

    instance: str
    pid: int
    start_ticks: int
    boot_id: str
    dead: tuple[str, ...] = ()


class LeftRecord(msgspec.Struct, frozen=True):
    """A record whose daemon has died."""

    path: Path
    record: InstanceRecord


class Leftovers(msgspec.Struct, frozen=True):
    """What earlier daemons in this directory did not clean up, all of them being dead."""

    daemon_pid: int | None = None
    """The last one, if it did not end in order since the machine was booted."""
    instances: frozenset[str] = frozenset()
    """The uuids of those that may have left processes."""
    records: tuple[LeftRecord, ...] = ()
    obsolete: tuple[Path, ...] = ()
    """Files of ours about what cannot exist any more."""
    problems: tuple[str, ...] = ()
    """What could not be read, for the log."""


class Launched(Protocol):
    """What the launcher knows of an instance; here is only what goes into its record."""

    @property
    def model(self) -> str: ...
    @property
    def gen(self) -> int: ...
    @property
    def own_port(self) -> int | None: ...
    @property
    def stop_argv(self) -> tuple[str, ...]: ...


class Records:
    """The files of this daemon: `begin`, then `swept`, then `written` and `removed` as instances come and go,
    then `end`.

    Nothing here raises because of a file: what cannot be written is told to `warn`, and the daemon goes on
    without that safety. `directory` is None if there is none to be had. The mutable state is which files this
    daemon has written and not yet removed.
    """

    def __init__(self, directory: Path | None, instance: str, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._instance = instance
        self._warn = warn
        self._paths: dict[int, Path] = {}
        self._written = 0
        self._begun = False
        self._boot_id = boot_id()

    def begin(self) -> Leftovers:
        """Find what earlier daemons left, and write down that this one runs. The directory must be locked."""
        if self._directory is None:
            return Leftovers()
        left = _find_leftovers(self._directory, self._boot_id)
        try:
            (self._directory / _INSTANCES).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            self._warn(f"cannot write state records in {self._directory}: {error.strerror}")
        self._write_daemon_record(left.instances)
        return left

    def swept(self, left: Leftovers, survivors: Iterable[str] = ()) -> None:
        """The leftovers are dealt with: forget them, except those of daemons that still have processes."""
        kept = frozenset(survivors)
        for path in left.obsolete:
            self._remove(path)
        for each in left.records:
            if each.record.instance not in kept:
                self._remove(each.path)
        if left.instances:
            self._write_daemon_record(kept)

    def written(self, launched: Launched, pid: int) -> None:
        """A process has been started. Call it at once: what is not written down is not swept."""
        if self._directory is None:
            return
        record = InstanceRecord(
            model=launched.model,
            gen=launched.gen,
            instance=self._instance,
            pid=pid,
            start_ticks=_start_ticks(pid),
            boot_id=self._boot_id,
            group=pid,
            port=launched.own_port,
            stop_argv=launched.stop_argv,
        )
        self._written += 1
        path = self._directory / _INSTANCES / f"{self._instance}-{self._written}.json"
        if self._replace(path, record):
            self._paths[pid] = path

    def removed(self, launched: Launched, pid: int) -> None:
        """Nothing of that instance is left."""
        if path := self._paths.pop(pid, None):
            self._remove(path)

    def end(self) -> None:
        """The daemon ends in order. Instances still on record stay so, and the next daemon looks for them."""
        if self._directory is not None and self._begun and not self._paths:
            self._remove(self._directory / _DAEMON)

    def _write_daemon_record(self, dead: frozenset[str]) -> None:
        assert self._directory is not None
        record = DaemonRecord(
            self._instance, os.getpid(), _start_ticks(os.getpid()), self._boot_id, tuple(sorted(dead))
        )
        self._begun = self._replace(self._directory / _DAEMON, record)

    def _replace(self, path: Path, record: InstanceRecord | DaemonRecord) -> bool:
        temporary = path.with_name(f"{path.name}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            _check_replaceable(path)
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(msgspec.json.encode(record))
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._warn(
                f"cannot write the state record {path}: {error.strerror}; "
                "should swapd be killed, its next start does not know of this"
            )
            return False
        return True

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"cannot remove the state record {path}: {error.strerror}")


def _check_replaceable(path: Path) -> None:
    """Raise OSError if there is something of that name which is not ours."""
    with suppress(FileNotFoundError):
        if path.lstat().st_uid != os.geteuid():
            raise OSError(errno.EPERM, "a file of another user is in its place")


def boot_id() -> str:
    """Identity of this run of the kernel; empty where the kernel gives none (macOS)."""
    return read_file("/proc/sys/kernel/random/boot_id").decode().strip()


def _start_ticks(pid: int) -> int:
    found = read_stat(pid)
    return found[1] if found else 0


# --- reading what others left ---------------------------------------------------------------------------


class _UnreadableError(Exception):
    """A file that does not hold what its name promises; the text says why."""


def _find_leftovers(directory: Path, boot: str) -> Leftovers:
    left = _leftovers_of_daemon(directory / _DAEMON, boot)
    try:
        paths = sorted((directory / _INSTANCES).iterdir())
    except FileNotFoundError:
        return left
    except OSError as error:
        problem = f"cannot read the state records in {directory / _INSTANCES}: {error.strerror}"
        return replace(left, problems=(*left.problems, problem))
    for path in paths:
        left = _with_file(left, path, boot)
    return left


def _leftovers_of_daemon(path: Path, boot: str) -> Leftovers:
    try:
        record = _read(path, DaemonRecord)
    except FileNotFoundError:
        return Leftovers()
    except OSError as error:
        return Leftovers(problems=(f"cannot read the state record {path}: {error.strerror}",))
    except _UnreadableError as error:
        return Leftovers(problems=(f"the state record {path} is damaged ({error}); it is written anew",))
    if not boot or record.boot_id != boot:
        return Leftovers()
    instances = frozenset(each for each in (record.instance, *record.dead) if re.fullmatch(_UUID, each))
    return Leftovers(daemon_pid=record.pid, instances=instances)


def _with_file(left: Leftovers, path: Path, boot: str) -> Leftovers:
    if _TEMPORARY_NAME.fullmatch(path.name):
        return replace(left, obsolete=(*left.obsolete, path))
    name = _RECORD_NAME.fullmatch(path.name)
    if name is None:
        problem = f"{path} is no state record of swapd; it is left alone"
        return replace(left, problems=(*left.problems, problem))
    try:
        record = _read(path, InstanceRecord)
        if record.instance != name[1] or record.pid <= 1:
            raise _UnreadableError("it contradicts itself")
    except OSError as error:
        problem = f"cannot read the state record {path}: {error.strerror}; it is left alone"
        return replace(left, problems=(*left.problems, problem))
    except _UnreadableError as error:
        problem = f"the state record {path} is damaged ({error}); a stop command it may hold is lost"
        return replace(
            left,
            problems=(*left.problems, problem),
            instances=left.instances | {name[1]},
            obsolete=(*left.obsolete, path),
        )
    if not boot or record.boot_id != boot:
        return replace(left, obsolete=(*left.obsolete, path))
    return replace(
        left,
        instances=left.instances | {record.instance},
        records=(*left.records, LeftRecord(path, record)),
    )


def _read(path: Path, kind: type[_Record]) -> _Record:
    """What is in one of our files. Raises OSError if it is not ours, `_UnreadableError` if it is damaged."""
    # Not blocking: somebody may have put a pipe there.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        if status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "it belongs to another user")
        content = file.read(_LARGEST)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _UnreadableError(str(error)) from None
