"""The knobs of the fake upstream: one declaration for command line, control API and in-process use."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Mapping, Sequence

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_UNITS = {"KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "B": 1}

_CHOICES: dict[str, tuple[str, ...]] = {
    "load_mode": ("unavailable", "refuse", "silent"),
    "health": ("ok", "hang", "redirect", "error", "reset"),
    "fork": ("none", "plain", "setpgrp", "setsid"),
}


class SettingsError(ValueError):
    """A knob that does not exist, or a value it does not take; the text names both."""


class Settings:
    """What the fake upstream does with a request, and with itself.

    A plain class, not attrs, for the sake of start-up time. Times are seconds, sizes bytes. An attribute
    whose default is a tuple may be given several times on the command line.
    """

    host: str = "127.0.0.1"
    port: int = 0
    model: str = ""

    load_s: float = 0.0
    load_mode: str = "unavailable"
    never_listen: bool = False
    never_answer: bool = False
    health: str = "ok"

    tokens: int = 16
    tps: float = 0.0
    first_token_s: float = 0.0
    jitter: float = 0.0
    cached: int = -1
    draft: int = -1
    draft_accepted: int = 0
    dimensions: int = 8

    status: int = 0
    failure_rate: float = 0.0
    seed: int = 1
    hold: bool = False
    hold_after: int = 0
    stall_upload_bytes: int = 0

    crash_after_s: float = -1.0
    crash_after_requests: int = -1
    crash_in_stream: int = -1
    exit_code: int = 1
    exit_signal: int = 0

    ignore_sigterm: bool = False
    term_delay_s: float = 0.0

    fork: str = "none"
    fork_hold_stdout: bool = False
    fork_hold_port: bool = False
    fork_ignore_sigterm: bool = False
    daemonise: bool = False

    log_line: tuple[str, ...] = ()
    stderr_line: tuple[str, ...] = ()
    log_interval_s: float = 0.0
    flood_bytes: int = 0
    allocate_bytes: int = 0

    def changed(self, changes: Mapping[str, object]) -> Settings:
        """A copy with some knobs turned; values may be of the knob's type or its command-line text.

        Raises SettingsError for an unknown name or a value that does not fit.
        """
        copy = Settings()
        copy.__dict__.update(self.__dict__)
        for name, value in changes.items():
            copy.__dict__[_canonical(name)] = _converted(_canonical(name), value)
        return copy


HELP: dict[str, str] = {
    "host": "address to listen on",
    "port": "port to listen on; 0 takes a free one and prints it",
    "model": "name given in answers (default: the one in the request)",
    "load_s": "time from start until the model is loaded",
    "load_mode": "until loaded: answer 503, refuse connections, or accept and say nothing",
    "never_listen": "run, but never open the port",
    "never_answer": "accept connections and never answer any",
    "health": "what GET /health does once loaded",
    "tokens": "length of an answer; a limit in the request makes it shorter",
    "tps": "tokens a second; 0 is as fast as possible",
    "first_token_s": "time before the first token",
    "jitter": "0.2 varies the pace between tokens by 20 %%",
    "cached": "prompt tokens reported as served from the cache; -1 reports none",
    "draft": "draft tokens reported; -1 reports none",
    "draft_accepted": "draft tokens reported as accepted",
    "dimensions": "length of an embedding",
    "status": "answer every model request with this status",
    "failure_rate": "0.1 answers every tenth request, by chance, with 500",
    "seed": "seed of that chance, and of jitter",
    "hold": "keep each model request waiting until POST /control/release",
    "hold_after": "with --hold: send this many tokens of a stream first",
    "stall_upload_bytes": "stop reading a request body after this many bytes until POST /control/release",
    "crash_after_s": "exit this long after start; 0 is at once",
    "crash_after_requests": "exit after answering this many model requests",
    "crash_in_stream": "exit after sending this many tokens of a stream",
    "exit_code": "exit status of a crash",
    "exit_signal": "crash by this signal instead",
    "ignore_sigterm": "carry on after SIGTERM",
    "term_delay_s": "take this long to exit after SIGTERM",
    "fork": "start a grandchild: in our process group, in one of its own, in a session of its own",
    "fork_hold_stdout": "the grandchild keeps our stdout and stderr open",
    "fork_hold_port": "the grandchild keeps our listening port open",
    "fork_ignore_sigterm": "the grandchild carries on after SIGTERM",
    "daemonise": "serve from a grandchild in its own session and exit 0 ourselves",
    "log_line": "print this line at start (repeatable)",
    "stderr_line": "print this line on stderr at start (repeatable)",
    "log_interval_s": "print a numbered line this often",
    "flood_bytes": "print this much as soon as the model is loaded (50MB)",
    "allocate_bytes": "hold this much memory (200MB)",
}


def parse_duration(text: str) -> float:
    """Seconds from "3s", "200ms", "1m", "1h" or a plain number of seconds."""
    return _with_unit(text, _DURATION_UNITS, "a duration such as 200ms or 3s")


def parse_size(text: str) -> int:
    """Bytes from "50MB", "4KiB" or a plain number of bytes."""
    return int(_with_unit(text, _SIZE_UNITS, "a size such as 50MB or 64KiB"))


def parse_arguments(argv: Sequence[str] | None = None) -> Settings:
    """Settings from command-line arguments; exits with 2 and a usage message when they do not parse."""
    parser = ArgumentParser(
        prog="python -m swapd.testing.upstream",
        description="A fake model server for tests. Durations: 200ms, 3s. Sizes: 50MB.",
        allow_abbrev=False,
    )
    for name, text in HELP.items():
        _add_flag(parser, name, text)
    return Settings().changed(_given(parser.parse_args(argv)))


def _add_flag(parser: ArgumentParser, name: str, text: str) -> None:
    flag, default = "--" + _flag_name(name), getattr(Settings, name)
    if isinstance(default, bool):
        parser.add_argument(flag, dest=name, action=BooleanOptionalAction, default=None, help=text)
    elif isinstance(default, tuple):
        parser.add_argument(flag, dest=name, action="append", metavar="TEXT", help=text)
    elif name in _CHOICES:
        parser.add_argument(flag, dest=name, choices=_CHOICES[name], help=text)
    else:
        parser.add_argument(flag, dest=name, type=_converter(name), metavar=_metavar(name), help=text)


def _given(arguments: Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(arguments).items() if value is not None}


def _flag_name(name: str) -> str:
    return name.removesuffix("_s").removesuffix("_bytes").replace("_", "-")


def _canonical(name: str) -> str:
    """The attribute for "crash-after", "crash_after" or "crash_after_s"."""
    for candidate in HELP:
        if name == candidate or name.replace("_", "-") == _flag_name(candidate):
            return candidate
    raise SettingsError(f"the fake upstream has no knob {name!r}; it has {', '.join(map(_flag_name, HELP))}")


def _converted(name: str, value: object) -> object:
    default = getattr(Settings, name)
    if isinstance(default, tuple):
        return tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise SettingsError(f"{name}: {value!r} is not true or false")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise SettingsError(f"{name}: {value!r} is none of {', '.join(_CHOICES[name])}")
    try:
        return _converter(name)(str(value))
    except (ValueError, ArgumentTypeError) as error:
        raise SettingsError(f"{name}: {error}") from None


def _converter(name: str) -> Callable[[str], object]:
    if name.endswith("_s"):
        return parse_duration
    if name.endswith("_bytes"):
        return parse_size
    return type(getattr(Settings, name))


def _metavar(name: str) -> str:
    return {parse_duration: "TIME", parse_size: "SIZE", int: "N", float: "X"}.get(_converter(name), "TEXT")


def _with_unit(text: str, units: Mapping[str, float], wanted: str) -> float:
    for unit in sorted(units, key=len, reverse=True):
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), units[unit]
            break
    else:
        number, factor = text, 1.0
    try:
        return float(number) * factor
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not {wanted}") from None
