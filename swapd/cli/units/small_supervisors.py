"""Service directories of s6 and runit: a few small files each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from swapd.cli.units.installation import Installation, UnitFile, quoted_for_shell


def s6_service(here: Installation) -> list[UnitFile]:
    """A service directory of s6: s6-supervise(8), servicedir of its documentation."""
    run = f"""\
#!/bin/sh
# Put this directory where your s6-svscan looks. A stop: s6-svc -d, a reload: s6-svc -h.
{_before(here)}exec 2>&1
exec {quoted_for_shell(_as_user(here, "s6-setuidgid", (*_serve(here), "--ready-fd", "3")))}
"""
    finish = """\
#!/bin/sh
# A mistake in command line or configuration (2, 78) does not go away by trying again: 125 means to stay down.
case $1 in
    2 | 78) exit 125 ;;
esac
"""
    return [
        UnitFile("run", run, 0o755),
        UnitFile("finish", finish, 0o755),
        UnitFile("notification-fd", "3\n"),
        UnitFile("timeout-kill", f"{here.stop_s * 1000}\n"),
    ]


def runit_service(here: Installation) -> list[UnitFile]:
    """A service directory of runit: runsv(8), sv(8)."""
    run = f"""\
#!/bin/sh
# Put this directory where your runsvdir looks. A stop: sv -w {here.stop_s} stop, a reload: sv hup.
{_before(here)}exec 2>&1
exec {quoted_for_shell(_as_user(here, "chpst -u", _serve(here)))}
"""
    check = f"""\
#!/bin/sh
# `sv start` waits until this says yes.
exec {quoted_for_shell(here.health)}
"""
    finish = """\
#!/bin/sh
# A mistake in command line or configuration (2, 78) does not go away by trying again: stay down.
case $1 in
    2 | 78) sv down "$PWD" ;;
    *) sleep 3 ;;
esac
"""
    return [UnitFile("run", run, 0o755), UnitFile("check", check, 0o755), UnitFile("finish", finish, 0o755)]


_STATE_DIRECTORY: Final = "/var/lib/swapd"
_RUNTIME_DIRECTORY: Final = "/run/swapd"
"""Where commands look for the admin socket."""


def _serve(here: Installation) -> Sequence[str]:
    """The command line; with a state directory, for a user who has no home to keep it in."""
    return here.serve if here.user is None else (*here.serve, "--state-dir", _STATE_DIRECTORY)


def _before(here: Installation) -> str:
    """What is done as root before another user runs it."""
    if here.user is None:
        return ""
    return (
        f"# Needs: useradd --system {here.user}\n"
        f"install -d -m 700 -o {here.user} {_STATE_DIRECTORY}\n"
        f"install -d -o {here.user} {_RUNTIME_DIRECTORY}\n"
    )


def _as_user(here: Installation, become: str, command: Sequence[str]) -> Sequence[str]:
    return command if here.user is None else (*become.split(), here.user, *command)
