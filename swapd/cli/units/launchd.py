"""A launch agent of macOS."""

from __future__ import annotations

import plistlib

from swapd.cli.units.installation import Installation, UnitFile

LABEL = "swapd"


def agent(here: Installation) -> list[UnitFile]:
    """`~/Library/LaunchAgents/swapd.plist`, as launchd.plist(5) wants it."""
    log = str(here.home / "Library/Logs/swapd.log")
    described = {
        "Label": LABEL,
        "ProgramArguments": list(here.serve),
        "RunAtLoad": True,
        # Ended in order it stays ended; ended otherwise, it is started again.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": here.stop_s,
        # Without it launchd slows it down, and all that it starts, like a job in the background.
        "ProcessType": "Interactive",
        "StandardOutPath": log,
        "StandardErrorPath": log,
        "SoftResourceLimits": {"NumberOfFiles": 8192},
    }
    return [UnitFile("swapd.plist", plistlib.dumps(described, sort_keys=False).decode())]
