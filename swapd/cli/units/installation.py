"""What a unit file has to know about this machine and about the swapd that is to run on it."""

from __future__ import annotations

import grp
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

SHORTEST_STOP_S: Final = 90
"""What a supervisor is told to wait for the end of swapd, if the configuration asks for no more."""

_BEYOND_S: Final = 30
"""How much longer than swapd itself it waits: its own deadlines should be the ones that count."""

_GROUPS: Final = ("render", "video")
"""Whoever is in these may use the GPUs."""

_NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia/version")


@frozen
class UnitFile:
    """One file of a unit. `name` is relative to the directory it belongs in; `mode` as for chmod(1)."""

    name: str
    text: str
    mode: int = 0o644


@frozen
class Installation:
    """`program` is the beginning of swapd's command line, `config` the configuration's absolute path.

    `listen` is where to listen, if not where swapd listens by itself. `stop_s` is how long, in seconds, a
    stop may take at most. `user` runs it (None: whoever starts it), `home` is the home of who asks. `groups`
    are those of the GPUs that exist here, by name with their number, `dri` whether /dev/dri exists.
    `systemd` is systemd's version, None where there is none. `nvidia_modprobe` is the helper that makes
    NVIDIA's device files, `nvidia` whether its driver is here. `containers` says that models are started
    through podman, sudo or another program that gains privileges.
    """

    program: tuple[str, ...]
    config: Path
    listen: str | None = None
    stop_s: int = SHORTEST_STOP_S
    user: str | None = "swapd"
    home: Path = Path("/")
    groups: Mapping[str, int] = {}
    dri: bool = False
    systemd: int | None = None
    nvidia_modprobe: str | None = None
    nvidia: bool = False
    containers: bool = False

    @property
    def serve(self) -> tuple[str, ...]:
        """The whole command line of the daemon."""
        listen = ("--listen", self.listen) if self.listen else ()
        return (*self.program, "serve", "--config", str(self.config), "--watch-config", *listen)

    @property
    def health(self) -> tuple[str, ...]:
        """The command that tells by its exit code whether the daemon takes requests."""
        url = ("--url", self._url) if self._url else ()
        return (*self.program, "health", "--ready", *url)

    @property
    def _url(self) -> str | None:
        """Where this machine reaches it, if that is not where commands look by themselves."""
        address = re.fullmatch(r"(.*):(\d+)", self.listen or "")
        if address is None:
            return None
        host = "127.0.0.1" if address[1] in ("", "0.0.0.0", "[::]") else address[1]
        return f"http://{host}:{address[2]}"


def this_program(argv0: str, executable: str) -> tuple[str, ...]:
    """How the running swapd can be started again by somebody whose PATH is another."""
    for candidate in (Path(argv0), Path(executable).parent / "swapd"):
        if candidate.name == "swapd" and candidate.is_file():
            return (os.path.abspath(candidate),)  # noqa: PTH100 - symlinks are to stay: venvs are made of them
    return (executable, "-m", "swapd")


def stop_time_s(pre_stop_delay_s: float, drain_s: float, backstop_s: float) -> int:
    """How long a supervisor should wait for an end in order, in seconds."""
    return max(SHORTEST_STOP_S, math.ceil(pre_stop_delay_s + drain_s + backstop_s) + _BEYOND_S)


def systemd_version() -> int | None:
    """The major version of the systemd that is installed; None if there is none."""
    try:
        shown = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"systemd (\d+)", shown.stdout)
    return int(match[1]) if match else None


def gpu_groups() -> dict[str, int]:
    """Those groups that may use the GPUs, as far as this machine has them, with their numbers."""
    found = {}
    for name in _GROUPS:
        try:
            found[name] = grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    return found


def find_installation(
    config: Path, *, listen: str | None, stop_s: int, user: str | None, containers: bool
) -> Installation:
    """Look at this machine. Asks systemd for its version, which takes some milliseconds."""
    return Installation(
        program=this_program(sys.argv[0], sys.executable),
        config=config,
        listen=listen,
        stop_s=stop_s,
        user=user,
        home=Path.home(),
        groups=gpu_groups(),
        dri=Path("/dev/dri").exists(),
        systemd=systemd_version(),
        nvidia_modprobe=shutil.which("nvidia-modprobe"),
        nvidia=_NVIDIA_DRIVER.exists(),
        containers=containers,
    )


def quoted_for_shell(words: Sequence[str]) -> str:
    """A command line for sh."""
    import shlex

    return shlex.join(words)
