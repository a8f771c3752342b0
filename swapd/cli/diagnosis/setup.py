"""This machine's swapd: its configuration, what that needs, its directories and addresses, what was left."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from swapd.cli.diagnosis.finding import Finding, Level

if TYPE_CHECKING:
    from swapd.config import Config, Sources

_CONTAINER_SOCKETS: Final = {"docker": "/var/run/docker.sock", "podman": ""}
"""The programs that run containers, and the socket that they need; empty if they need none."""
_NOT_STARTING: Final = "a model that needs it does not start"
_MANY: Final = 20


def look_at_configuration(sources: Sources, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The configuration, and what it needs of the machine."""
    from swapd.config.advice import advise
    from swapd.config.loader import load_document

    subject = "configuration"
    files = [*map(str, sources.files), *([str(sources.directory)] if sources.directory else [])]
    if not files:
        yield Finding(
            Level.NOTE, subject, "none was found", mend="swapd init writes one; or name it: --config FILE"
        )
        return
    names = ", ".join(files)
    loaded, places = load_document(sources, environ=environ)
    if loaded.config is None or places is None:
        yield Finding(
            Level.ERROR,
            subject,
            f"{names}: {_counted(len(loaded.errors), 'error')}",
            "swapd does not start with it",
            "swapd check shows them with their places",
        )
        return
    models = _counted(len(loaded.config.models), "model")
    if loaded.warnings:
        what = f"{names}: {models}, {_counted(len(loaded.warnings), 'warning')}"
        yield Finding(Level.WARNING, subject, what, mend="swapd check shows them with their places")
    else:
        yield Finding(Level.OK, subject, f"{names}: {models}")
    advise(loaded.config, environ, places)
    found = [each for each in places.log.result() if each.code in ("program-missing", "file-missing")]
    for problem in found[:_MANY]:
        yield Finding(Level.ERROR, "command", problem.message, _NOT_STARTING, problem.hint or "mend its path")
    if len(found) > _MANY:
        yield Finding(
            Level.ERROR, "command", f"{len(found) - _MANY} more of this kind", mend="swapd check lists all"
        )
    yield from _containers(loaded.config, environ)


def _containers(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether programs that run containers can do so."""
    used = {Path(model.argv[0]).name for model in config.models.values() if model.argv}
    for program in sorted(used & _CONTAINER_SOCKETS.keys()):
        if shutil.which(program, path=environ.get("PATH", os.defpath)) is None:
            continue  # has been found above
        address = environ.get("DOCKER_HOST", "") if program == "docker" else ""
        path = address.removeprefix("unix://") or _CONTAINER_SOCKETS[program]
        if path and not address.startswith(("tcp:", "ssh:")) and (problem := _unconnected(path)):
            yield Finding(
                Level.ERROR,
                program,
                f"{path}: {problem}",
                "models in containers do not start",
                f"is {program} running? Its users are in the group {program}, which is as good as being root",
            )
        else:
            yield Finding(Level.OK, program, "can be asked to run containers" if path else "is installed")


def _unconnected(path: str) -> str:
    """Why nothing answers at a unix socket; empty if something does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError as error:
            return error.strerror or str(error)
        return ""


def look_at_state(directory: Path) -> Finding:
    """The directory that outlives a daemon: whether it can be used, and by whom it is."""
    subject = "state directory"
    there = next(each for each in (directory, *directory.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            Level.ERROR,
            subject,
            f"{directory}: {there} {'may not be written' if there.is_dir() else 'is no directory'}",
            "after a crash, swapd cannot find what its models have left",
            "name another with --state-dir, or make it and give it to the user of swapd",
        )
    if there != directory:
        return Finding(Level.OK, subject, f"{directory}: not there yet, can be made")
    holder = _holder(directory / "lock")
    return Finding(
        Level.OK, subject, f"{directory}: in use by pid {holder}" if holder else f"{directory}: free"
    )


def _holder(lock: Path) -> int | None:
    """Who holds the lock, by proc_locks(5): trying it would keep a daemon that starts just now from it.

    The device is not compared: for file systems such as overlayfs, stat(2) names another than the kernel.
    The holder has written its number into the file, which tells it from a namesake just as well.
    """
    try:
        inode, said = lock.stat().st_ino, lock.read_text().strip()
        table = Path("/proc/locks").read_text()
    except OSError:
        return None
    for line in table.splitlines():
        fields = line.split()
        if "FLOCK" in fields and said in fields and any(field.endswith(f":{inode}") for field in fields):
            return int(said)
    return None


def look_at_address(host: str, port: int) -> Finding:
    """Whether a daemon could listen there, and who does if not."""
    from swapd.supervision.port_holder import find_port_holder

    subject = f"address {host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return Finding(Level.OK, subject, "free")
        except OSError as error:
            reason = error.strerror or str(error)
    if _is_swapd(host, port):
        return Finding(Level.OK, subject, "swapd answers there")
    holder = find_port_holder(port)
    return Finding(
        Level.ERROR,
        subject,
        f"{reason}: {holder} listens there" if holder else reason,
        "swapd cannot listen there",
        "end that program, or give swapd another: --listen 127.0.0.1:PORT",
    )


def _is_swapd(host: str, port: int) -> bool:
    from swapd.cli.client import Address, Client
    from swapd.cli.errors import CliError

    try:
        status, body = Client(Address(host, port)).status_of("/ready", timeout_s=2)
    except CliError:
        return False
    return status in (200, 503) and b"ready" in body.lower()


def look_for_orphans(proc: Path = Path("/proc")) -> Finding:
    """Processes of models whose daemon is gone, among those that we may look into.

    A daemon that lives has a guardian beside it, on whose command line its identity stands.
    """
    marked: dict[str, list[int]] = {}
    guarded: set[str] = set()
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        for item in _items(directory / "environ"):
            if item.startswith("SWAPD_INSTANCE="):
                marked.setdefault(item.partition("=")[2], []).append(int(directory.name))
        guarded.update(_items(directory / "cmdline"))
    left = sorted(pid for instance, pids in marked.items() if instance not in guarded for pid in pids)
    if not left:
        return Finding(Level.OK, "left processes", "none")
    return Finding(
        Level.WARNING,
        "left processes",
        f"pid {', '.join(map(str, left[:_MANY]))}{' …' if len(left) > _MANY else ''}",
        "models of a swapd that is gone; they keep their memory and their ports",
        "start swapd on its state directory, which ends them; or kill them",
    )


def _items(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended, or belongs to somebody else
        return []


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
