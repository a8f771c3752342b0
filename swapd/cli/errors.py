"""How a command fails: the message on standard error, and the exit code."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of all commands; those from 64 on are those of sysexits(3)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 69
    INTERNAL = 70
    BUSY = 75
    REFUSED = 77
    CONFIG = 78
    INTERRUPTED = 130


class CliError(Exception):
    """Ends the command. Shown as `swapd: <message>` and, where there is one, `hint: <hint>`.

    `message` has the form `<what failed>: <why>`.
    """

    def __init__(self, message: str, hint: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class UsageError(CliError):
    """The command line (or an environment variable that stands for a flag) is wrong."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, ExitCode.USAGE)
