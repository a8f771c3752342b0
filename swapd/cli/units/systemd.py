"""Units of systemd: for the whole machine, and for one user.

Comments stand on lines of their own, for systemd knows no others (systemd.syntax(7)). What is not there is
left out on purpose, because it breaks model servers: PrivateDevices and a tight DevicePolicy hide the GPUs,
MemoryDenyWriteExecute ends just-in-time compilers, ProtectKernelTunables some drivers, RestrictNamespaces
podman and bubblewrap; ProtectClock implied a list of devices until the end of 2022.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from swapd.cli.units.installation import Installation, UnitFile

_NOTIFY_RELOAD: Final = 253
"""The first systemd that knows `Type=notify-reload` (its NEWS); an older one takes it for `simple`."""

_HARDENING: Final = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectHostname=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native"""

_CLOSED_DEVICES: Final = """\
# To allow no devices but GPUs, take the # away from those lines that fit:
#DevicePolicy=closed
#DeviceAllow=char-nvidia-frontend rw
#DeviceAllow=char-nvidia-uvm rw
#DeviceAllow=char-drm rw
#DeviceAllow=/dev/kfd rw"""


def machine_unit(here: Installation) -> list[UnitFile]:
    """`/etc/systemd/system/swapd.service`."""
    after = " nvidia-persistenced.service" if here.nvidia else ""
    lines = [
        "# Put this into /etc/systemd/system/swapd.service, then:",
        *_user_note(here),
        "#   sudo systemctl daemon-reload",
        "#   sudo systemctl enable --now swapd",
        "[Unit]",
        "Description=swapd: model servers on demand behind one address",
        "Wants=network-online.target",
        f"After=network-online.target{after}",
        "StartLimitIntervalSec=300",
        "StartLimitBurst=5",
        "",
        "[Service]",
        *_service(here, machine=True),
        f"User={here.user or 'root'}",
    ]
    if here.groups:
        lines += ["# for the GPUs", f"SupplementaryGroups={' '.join(here.groups)}"]
    lines += [
        "# when memory runs out, models go first: swapd offers them",
        "OOMScoreAdjust=-200",
        "LimitNOFILE=65536",
        "LimitMEMLOCK=infinity",
        "StateDirectory=swapd",
        "StateDirectoryMode=0700",
        "CacheDirectory=swapd",
        "RuntimeDirectory=swapd",
        "WorkingDirectory=%S/swapd",
        "# where models go that a server downloads by itself",
        "Environment=XDG_CACHE_HOME=%C/swapd",
        "UMask=0027",
        *_sandbox(here),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return [UnitFile("swapd.service", "\n".join(lines) + "\n")]


def user_unit(here: Installation) -> list[UnitFile]:
    """`~/.config/systemd/user/swapd.service`."""
    lines = [
        "# Put this into ~/.config/systemd/user/swapd.service, then:",
        "#   systemctl --user daemon-reload",
        "#   systemctl --user enable --now swapd",
        "# To have it run while you are not logged in as well:",
        "#   loginctl enable-linger",
        "[Unit]",
        "Description=swapd: model servers on demand behind one address",
        "StartLimitIntervalSec=300",
        "StartLimitBurst=5",
        "",
        "[Service]",
        *_service(here, machine=False),
        "StateDirectory=swapd",
        "StateDirectoryMode=0700",
        "RuntimeDirectory=swapd",
        "WorkingDirectory=%S/swapd",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return [UnitFile("swapd.service", "\n".join(lines) + "\n")]


def _user_note(here: Installation) -> Iterator[str]:
    if here.user is not None:
        yield f"#   sudo useradd --system --home-dir /var/lib/swapd --shell /usr/sbin/nologin {here.user}"


def _service(here: Installation, *, machine: bool) -> Iterator[str]:
    """What both units have in common."""
    if here.systemd is not None and here.systemd >= _NOTIFY_RELOAD:
        yield "Type=notify-reload"
    else:
        yield from (
            f"# from systemd {_NOTIFY_RELOAD} on: Type=notify-reload, without ExecReload",
            "Type=notify",
        )
        yield "ExecReload=/bin/kill -HUP $MAINPID"
    if here.nvidia_modprobe is not None and machine:
        yield "# without a desktop nobody else makes the device files of CUDA"
        yield f"ExecStartPre=+-{here.nvidia_modprobe} -u -c=0"
    yield f"ExecStart={command_line(here.serve)}"
    yield "Restart=on-failure"
    yield "RestartSec=3"
    yield "# a mistake in command line or configuration does not go away by trying again"
    yield "RestartPreventExitStatus=2 78"
    yield "WatchdogSec=60"
    yield "TimeoutStartSec=60"
    yield f"TimeoutStopSec={here.stop_s}"
    yield "# only swapd gets SIGTERM, and stops its models in order; what is left at the end is killed"
    yield "KillMode=mixed"
    yield "# a model that is killed for lack of memory must not take swapd with it"
    yield "OOMPolicy=continue"
    yield "Delegate=yes"


def _sandbox(here: Installation) -> Iterator[str]:
    if here.containers:
        yield "# No sandbox: podman, sudo and the like need privileges that any of its options takes away."
        return
    yield "# Models that podman, sudo or another set-uid program starts need all of this gone:"
    yield "# swapd unit systemd --containers"
    yield from _HARDENING.splitlines()
    yield from _CLOSED_DEVICES.splitlines()


def command_line(words: Sequence[str]) -> str:
    """Words as systemd reads them: quotes around blanks; `%`, `$` and `\\` doubled (systemd.service(5))."""
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[\s'\";]", word) or not word else escaped
