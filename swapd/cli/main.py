"""`swapd [command] [flags]`: finds the command, runs it, turns what goes wrong into a message and a code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from swapd.cli.errors import CliError, ExitCode, UsageError

COMMANDS: Final = {
    "serve": "run the daemon; also what happens without a command",
    "check": "check configuration files, start nothing",
    "models": "list the models that can be asked for",
    "ps": "list the models that are not stopped",
    "load": "start models and wait until they are ready",
    "unload": "stop models",
    "status": "show the daemon on one screen",
    "health": "tell by the exit code whether the daemon is there",
    "reload": "have the daemon read its configuration again",
    "init": "find the models on this machine and write a configuration for them",
    "top": "watch models and requests on the whole screen",
    "bench": "ask many times, and say how fast swapd and its models are",
    "doctor": "look for what keeps swapd or its models from working",
    "activity": "list the requests of the past, or export them",
    "capture": "show one request of the past and its answer",
    "cancel": "end a request that is in flight",
    "profile": "show the profiles, or switch to another",
    "chat": "talk to a model",
    "completion": "print a script that lets a shell complete commands and models",
    "schema": "print a JSON schema of the configuration for editors",
    "demo": "run the daemon with small models, to try it out",
    "unit": "print a unit for systemd, s6, runit, launchd or compose",
    "version": "print the version",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (without the program's name; None: the process's own) asks for."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_missing_streams()
    try:
        return _command(words)(words)
    except CliError as error:
        print(f"swapd: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        if _debugging(words):
            raise
        cause = _innermost(error)
        print(f"swapd: internal error: {type(cause).__name__}: {cause}", file=sys.stderr)
        print("hint: repeat it with --debug for the traceback, and please report it", file=sys.stderr)
        return ExitCode.INTERNAL


def _command(words: list[str]) -> Callable[[list[str]], int]:
    """The function that runs the command; takes the command's name off `words`.

    Only flags, or nothing at all, mean `serve`, so that command lines written for llama-swap work.
    """
    name = "serve"
    if words and not words[0].startswith("-"):
        name = words.pop(0)
    if name == "help":
        name, words[:] = "serve", ["--help"]
    if name not in COMMANDS:
        raise UsageError(f"unknown command: {name!r}", f"the commands are {', '.join(COMMANDS)}")
    run: Callable[[list[str]], int] = importlib.import_module(f"swapd.cli.{name}").run
    return run


def _open_missing_streams() -> None:
    """Give each standard stream that was closed (runit's sv does that to its checks) /dev/null instead.

    Python has None for it; and its descriptor would go to the next file or socket, and what is printed there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, closefd=False))


def _innermost(error: BaseException) -> BaseException:
    """The one error in a group of one: nurseries wrap what goes wrong in them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _debugging(words: Sequence[str]) -> bool:
    return "--debug" in words or "-debug" in words or bool(os.environ.get("SWAPD_DEBUG"))
