"""`swapd unit KIND`: the file by which a service manager keeps this swapd running."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import CliError, ExitCode, UsageError
from swapd.cli.serve import BACKSTOP_S, MACHINE_CONFIG, default_places
from swapd.cli.units import compose, launchd, small_supervisors, systemd
from swapd.cli.units.installation import Installation, UnitFile, find_installation, stop_time_s
from swapd.config import Sources, load
from swapd.config.settings import Shutdown

KINDS: Final[Mapping[str, tuple[str, Callable[[Installation], list[UnitFile]]]]] = {
    "systemd": ("a service of the machine", systemd.machine_unit),
    "systemd-user": ("a service of your own, without root", systemd.user_unit),
    "s6": ("a service directory", small_supervisors.s6_service),
    "runit": ("a service directory", small_supervisors.runit_service),
    "launchd": ("a launch agent of macOS", launchd.agent),
    "compose": ("a compose file for docker or podman", compose.compose_file),
}

_OWN_USER: Final = ("systemd", "s6", "runit")
"""Where swapd runs as a user of its own; elsewhere as whoever starts it."""

_USER: Final = "swapd"


def run(argv: Sequence[str]) -> int:
    """Print the unit, or write it; returns the exit code."""
    words = list(argv)
    kind = words.pop(0) if words and not words[0].startswith("-") else ""
    values = _parser().parse(words, os.environ)
    if kind not in KINDS:
        problem = f"unknown kind: {kind!r}" if kind else "wrong usage: no kind is named"
        raise UsageError(problem, f"the kinds are {', '.join(KINDS)}")
    config = _config(kind, values["config"])
    here = find_installation(
        config,
        listen=values["listen"],
        stop_s=_stop_s(config),
        user=_user(values["user"]) if kind in _OWN_USER else None,
        containers=bool(values["containers"]),
    )
    files = KINDS[kind][1](here)
    for remark in remarks(here):
        print(f"swapd: {remark}", file=sys.stderr)
    if values["out"] is None:
        print(as_text(files), end="")
    else:
        _write(files, values["out"])
    return ExitCode.OK


def as_text(files: Sequence[UnitFile]) -> str:
    """The files one after another; the only one as it is, several under their names."""
    if len(files) == 1:
        return files[0].text
    return "\n".join(f"==> {file.name} (mode {file.mode:o}) <==\n{file.text}" for file in files)


def remarks(here: Installation) -> list[str]:
    """What would keep the unit from working and can be seen from here."""
    found = []
    program = Path(here.program[0])
    if here.user is not None and any(program.is_relative_to(home) for home in ("/home", "/root")):
        found.append(
            f"the user {here.user} may not be able to read {program}; install swapd outside of home "
            "directories, such as in /opt/swapd, and print the unit with that one"
        )
    if not here.config.exists():
        found.append(f"there is no {here.config} yet")
    return found


def _parser() -> FlagParser:
    kinds = "\n".join(f"  {kind:14} {what}" for kind, (what, _) in KINDS.items())
    parser = FlagParser(
        "unit",
        "Print the file by which a service manager keeps this swapd running.",
        usage="swapd unit KIND [flags]",
        epilog=f"kinds:\n{kinds}",
    )
    parser.add_value(
        "config", f"configuration to serve (default: as found, else {MACHINE_CONFIG})", "FILE", Path
    )
    parser.add_value("listen", "where swapd is to listen", "ADDR")
    parser.add_value("user", "who is to run it (default swapd; systemd, s6 and runit)", "NAME")
    parser.add_switch("containers", "models are started by podman or sudo: leave out systemd's sandbox")
    parser.add_value("out", "write into this directory instead", "DIR", Path)
    return parser


def _config(kind: str, given: Path | None) -> Path:
    """The configuration's absolute path: the given one, else where `serve` would find one by itself."""
    places = [given] if given else [MACHINE_CONFIG] if kind in _OWN_USER else default_places(os.environ)
    found = next((place for place in places if place.is_file()), given or MACHINE_CONFIG)
    return Path(os.path.abspath(found))  # noqa: PTH100 - symlinks are to stay: they may be what changes


def _user(given: str | None) -> str | None:
    """Who is to run it; None if that is who runs us."""
    name = given or _USER
    return None if name == pwd.getpwuid(os.getuid()).pw_name else name


def _stop_s(config: Path) -> int:
    """How long a stop may take with this configuration, or with the defaults if it cannot be loaded."""
    loaded = load(Sources((config,)), environ=os.environ).config if config.is_file() else None
    shutdown = loaded.shutdown if loaded is not None else Shutdown()
    return stop_time_s(shutdown.pre_stop_delay_s, shutdown.drain_s, BACKSTOP_S)


def _write(files: Sequence[UnitFile], directory: Path) -> None:
    """Write them; nothing is overwritten."""
    for file in files:
        if (directory / file.name).exists():
            raise CliError(
                f"cannot write {directory / file.name}: it exists", "move it away, or name another --out"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            (directory / file.name).write_text(file.text)
            (directory / file.name).chmod(file.mode)
            print(directory / file.name)
    except OSError as error:
        raise CliError(f"cannot write {error.filename}: {error.strerror}") from None
