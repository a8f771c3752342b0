"""`swapd serve`: from the command line to a running daemon.

Here is what can fail before there is a daemon, in this order: flags, configuration, state directory, sockets.
Each failure is a message on standard error and an exit code; nothing has been started by then. The sockets
are bound before the server is even imported, so that a client that comes early waits instead of being
refused.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import CliError, ExitCode, UsageError
from swapd.cli.main import COMMANDS
from swapd.version import BUILD

if TYPE_CHECKING:
    from swapd.config import Config, Loaded, Problem, Sources
    from swapd.http.server import TLS
    from swapd.supervision.admin_socket import AdminSocket
    from swapd.supervision.listeners import ListenAddress, Listener
    from swapd.supervision.ready_fd import ReadyFd
    from swapd.supervision.state_directory import StateDirectory

DEFAULT_LISTEN: Final = "127.0.0.1:8080"
DEFAULT_TLS_LISTEN: Final = "127.0.0.1:8443"
_TWINS: Final = "Each flag can also be given in the environment: --log-level as SWAPD_LOG_LEVEL."
MACHINE_CONFIG: Final = Path("/etc/swapd/config.yaml")
LLAMA_SWAP_PLACES: Final = (Path("/app/config.yaml"), Path("/etc/llama-swap/config/config.yaml"))
"""Where the images of llama-swap have it; looked at in containers, so that a volume may stay as it is."""
_CONTAINER_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
LOG_LEVELS: Final = ("debug", "info", "warn", "error")
LOG_FORMATS: Final = ("auto", "text", "json", "journal")
DEFAULT_WATCH_INTERVAL_S: Final = 2.0
BACKSTOP_S: Final = 5
"""What an orderly stop may take beyond its drain time before everything left is killed."""


class ServeOptions(NamedTuple):
    """The flags of `swapd serve`, the environment taken into account; None where neither says anything."""

    config: tuple[Path, ...]
    config_dir: Path | None
    listen: tuple[str, ...]
    tls_cert_file: Path | None
    tls_key_file: Path | None
    watch_config: bool
    watch_interval_s: float
    check_only: bool
    log_level: str | None
    log_format: str | None
    drain_timeout_s: float | None
    pre_stop_delay_s: float | None
    state_dir: Path | None
    ready_fd: int | None
    pid_file: Path | None
    base_path: str
    no_ui: bool
    admin_socket: str | None
    runtime_dir: Path | None

    @property
    def tls(self) -> bool:
        return self.tls_cert_file is not None


def run(argv: Sequence[str]) -> int:
    """Serve until a signal ends it; returns the exit code."""
    options = parse_options(argv, os.environ)
    if options is None:
        print(BUILD)
        return ExitCode.OK
    if options.check_only:
        return _check(options)
    return _serve(options)


# --- flags --------------------------------------------------------------------------------------------


def parse_options(argv: Sequence[str], environ: Mapping[str, str]) -> ServeOptions | None:
    """Understand the command line; None when it only asks for the version. Raises `UsageError`."""
    values = _parser().parse(argv, environ)
    if values["version"]:
        return None
    if (values["tls-cert-file"] is None) != (values["tls-key-file"] is None):
        raise UsageError(
            "wrong usage: --tls-cert-file and --tls-key-file belong together", "give both, or neither"
        )
    return ServeOptions(
        config=tuple(values["config"] or ()),
        config_dir=values["config-dir"],
        listen=tuple(values["listen"] or ()),
        tls_cert_file=values["tls-cert-file"],
        tls_key_file=values["tls-key-file"],
        watch_config=bool(values["watch-config"]),
        watch_interval_s=values["watch-interval"] or DEFAULT_WATCH_INTERVAL_S,
        check_only=bool(values["check-only"]),
        log_level=values["log-level"],
        log_format=values["log-format"],
        drain_timeout_s=values["drain-timeout"],
        pre_stop_delay_s=values["pre-stop-delay"],
        state_dir=values["state-dir"],
        ready_fd=values["ready-fd"],
        pid_file=values["pid-file"],
        base_path=values["base-path"] or "",
        no_ui=bool(values["no-ui"]),
        admin_socket=values["admin-socket"],
        runtime_dir=values["runtime-dir"],
    )


def _parser() -> FlagParser:
    commands = "\n".join(f"  {name:10} {what}" for name, what in COMMANDS.items())
    parser = FlagParser(
        "serve",
        "Keep many local inference servers behind one address: start, swap and stop them on demand.",
        usage="swapd [serve] [flags]",
        epilog=f"commands:\n{commands}\n\n{_TWINS}",
    )
    add = parser.add_value
    add(
        "config",
        "configuration file; may be repeated, later files add to earlier",
        "FILE",
        Path,
        repeatable=True,
    )
    add("config-dir", "directory whose *.yml and *.yaml files are read after --config", "DIR", Path)
    add(
        "listen",
        f"where to listen: host:port, :port for all interfaces, unix:/path, fd://N or systemd; "
        f"may be repeated (default {DEFAULT_LISTEN})",
        "ADDR",
        repeatable=True,
    )
    add("tls-cert-file", "serve TLS with this certificate (PEM); needs --tls-key-file", "FILE", Path)
    add("tls-key-file", "the certificate's private key (PEM)", "FILE", Path)
    parser.add_switch("watch-config", "reload when the configuration changes")
    add("watch-interval", "how often to look for changes (default 2s, at least 0.2s)", "TIME", _seconds)
    parser.add_switch("check-only", "check the configuration like `swapd check` and exit")
    add("log-format", f"one of {', '.join(LOG_FORMATS)}; beats the configuration", "FORMAT", _log_format)
    add("log-level", f"one of {', '.join(LOG_LEVELS)}; beats the configuration", "LEVEL", _log_level)
    add("drain-timeout", "how long a stop waits for running requests (default 30s)", "TIME", _seconds)
    add("pre-stop-delay", "how long a stop goes on accepting requests first (default 0s)", "TIME", _seconds)
    add(
        "state-dir",
        "where to keep what a restart after a crash needs (default $STATE_DIRECTORY, else "
        "$XDG_STATE_HOME/swapd, for root /var/lib/swapd)",
        "DIR",
        Path,
    )
    add(
        "admin-socket",
        "a unix socket whose clients need no key, or off (default swapd.sock in the runtime directory)",
        "PATH",
    )
    add(
        "runtime-dir",
        "where the admin socket is (default $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR, else /run/swapd)",
        "DIR",
        Path,
    )
    add("ready-fd", "write a line feed to this inherited descriptor once requests are served", "N", int)
    add("pid-file", "write the daemon's process number here", "FILE", Path)
    add(
        "base-path",
        "the path below which a reverse proxy shows swapd, whether or not the proxy takes it away",
        "/PATH",
        _base_path,
    )
    parser.add_switch("no-ui", "serve no web interface")
    parser.add_action("version", "print the version and exit")
    return parser


def _log_level(text: str) -> str:
    if text not in LOG_LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(LOG_LEVELS)}")
    return text


def _log_format(text: str) -> str:
    if text not in LOG_FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(LOG_FORMATS)}")
    return text


def _base_path(text: str) -> str:
    from swapd.http.prefix import NotAPrefix, parse_prefix

    try:
        return parse_prefix(text)
    except NotAPrefix as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    """Duration text such as `1h30m` or `90s`, or a plain number of seconds."""
    from swapd.config.units import parse_duration

    try:
        seconds: float | None = float(text)
    except ValueError:
        seconds = parse_duration(text, days=True)
    if seconds is None or not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 90s, 1h30m or a number of seconds")
    return seconds


# --- configuration ------------------------------------------------------------------------------------


def find_sources(options: ServeOptions, environ: Mapping[str, str]) -> Sources:
    """What to load: the flags' files, else the first default place that exists.

    Raises `CliError` with exit code 78 when there is nothing.
    """
    from swapd.config import Sources

    if options.config or options.config_dir is not None:
        return Sources(options.config, options.config_dir)
    places = default_places(environ)
    for place in places:
        if place.is_file():
            return Sources((place,), None)
    raise CliError(
        f"cannot load the configuration: error[source-missing]: neither --config nor --config-dir is given, "
        f"and there is no {', '.join(map(str, places))}",
        "give --config FILE; `swapd init` writes one, `swapd demo` shows what swapd does without any",
        ExitCode.CONFIG,
    )


def default_places(environ: Mapping[str, str]) -> list[Path]:
    """Where a configuration is looked for when no flag names one."""
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/") / ".config"
    places = [Path("swapd.yaml"), Path(home) / "swapd" / "config.yaml", MACHINE_CONFIG]
    return [*places, *LLAMA_SWAP_PLACES] if _in_container(environ) else places


def _in_container(environ: Mapping[str, str]) -> bool:
    """Whether docker, podman or another that says so has started us."""
    return "container" in environ or any(mark.exists() for mark in _CONTAINER_MARKS)


def _load(sources: Sources) -> Loaded:
    """The valid configuration and its warnings. Prints the errors and raises `CliError` if there are any."""
    from swapd.config import load, render_problems

    loaded = load(sources, environ=os.environ)
    if loaded.config is None:
        print(render_problems(loaded.problems), file=sys.stderr)
        errors = _counted(sum(problem.is_error for problem in loaded.problems), "error")
        raise CliError(f"cannot load the configuration: {errors}", code=ExitCode.CONFIG)
    return loaded


def _check(options: ServeOptions) -> int:
    """`--check-only`: the command `check` on the same sources."""
    sources = find_sources(options, os.environ)
    argv = [f"--config={file}" for file in sources.files]
    if sources.directory is not None:
        argv.append(f"--config-dir={sources.directory}")
    check: Callable[[Sequence[str]], int] = importlib.import_module("swapd.cli.check").run
    return check(argv)


# --- the daemon ---------------------------------------------------------------------------------------


def _serve(options: ServeOptions) -> int:
    from swapd.supervision.pid_file import PidFileError, pid_file
    from swapd.supervision.process_setup import prepare_process

    prepare_process()
    ready_fd = _ready_fd(options)
    sources = find_sources(options, os.environ)
    loaded = _load(sources)
    tls = _checked_tls(options)
    state = _open_state_directory(options, os.environ)
    with contextlib.ExitStack() as held:
        if state is not None:
            held.callback(state.close)
        listeners = _bind(options)
        for listener in listeners:
            held.callback(listener.close)
        admin = _admin_socket(options, os.environ)
        for listener in admin.listeners:
            held.callback(listener.close)
        try:
            held.enter_context(pid_file(options.pid_file))
        except PidFileError as error:
            raise CliError(str(error), "choose another --pid-file") from None
        return _run_daemon(options, sources, loaded, listeners, admin, state, ready_fd, tls)


def _run_daemon(
    options: ServeOptions,
    sources: Sources,
    loaded: Loaded,
    listeners: Sequence[Listener],
    admin: AdminSocket,
    state: StateDirectory | None,
    ready_fd: ReadyFd | None,
    tls: TLS | None,
) -> int:
    import trio

    from swapd.daemon import DaemonSettings, main
    from swapd.http.server import ServerSettings
    from swapd.observe.console import Console

    assert loaded.config is not None
    admin_socket = admin.listeners[0].unlink if admin.listeners else None
    return trio.run(
        main,
        DaemonSettings(
            sources=sources,
            loaded=loaded,
            listeners=[listener.sock for listener in (*listeners, *admin.listeners)],
            state_directory=state.path if state is not None else None,
            ready_fd=ready_fd,
            server=ServerSettings(tls=tls, plain_socket=admin_socket),
            admin_socket=admin_socket,
            drain_s=options.drain_timeout_s,
            pre_stop_delay_s=options.pre_stop_delay_s,
            watch_interval_s=options.watch_interval_s if options.watch_config else None,
            log_level=options.log_level,
            log_format=options.log_format,
            console=Console(),
            started_lines=tuple(
                start_lines(options, sources, loaded.config, loaded.problems, listeners, admin)
            ),
            base_path=options.base_path,
            with_ui=not options.no_ui,
        ),
    )


def _ready_fd(options: ServeOptions) -> ReadyFd | None:
    from swapd.supervision.ready_fd import ReadyFd, ReadyFdError

    if options.ready_fd is None:
        return None
    try:
        return ReadyFd(options.ready_fd)
    except ReadyFdError as error:
        raise UsageError(f"wrong usage: {error}") from None


def _open_state_directory(options: ServeOptions, environ: Mapping[str, str]) -> StateDirectory | None:
    """The directory, locked. None if nobody has named one and there is none to be had where it usually is:
    swapd runs on a read-only system too.

    Raises `CliError`, with exit code 75 if another daemon has it.
    """
    from swapd.supervision.state_directory import (
        StateDirectory,
        StateDirectoryBusy,
        StateDirectoryError,
        default_state_directory,
    )

    try:
        return StateDirectory.open(options.state_dir or default_state_directory(environ))
    except StateDirectoryBusy as error:
        raise CliError(
            f"cannot start: {error}",
            "stop that one, or give this one a directory of its own with --state-dir DIR",
            ExitCode.BUSY,
        ) from None
    except StateDirectoryError as error:
        if options.state_dir is not None:
            raise CliError(str(error), "choose another --state-dir") from None
        print(f"swapd: {error}; after a crash nothing is cleaned up at the next start", file=sys.stderr)
        return None


def _bind(options: ServeOptions) -> list[Listener]:
    from swapd.supervision.listeners import ListenError, ListenSyntaxError, bind_all, parse_listen

    try:
        return bind_all([parse_listen(value) for value in options.listen] or [_default_address(options)])
    except ListenSyntaxError as error:
        raise UsageError(f"wrong usage: {error}", error.hint) from None
    except ListenError as error:
        raise CliError(str(error), error.hint) from None


def _admin_socket(options: ServeOptions, environ: Mapping[str, str]) -> AdminSocket:
    from swapd.supervision.admin_socket import open_admin_socket
    from swapd.supervision.listeners import ListenError, ListenSyntaxError

    try:
        return open_admin_socket(options.admin_socket, options.runtime_dir, environ)
    except ListenSyntaxError as error:
        raise UsageError(f"wrong usage: {error}", error.hint) from None
    except ListenError as error:
        raise CliError(str(error), error.hint or "choose another place, or --admin-socket off") from None


def _default_address(options: ServeOptions) -> ListenAddress:
    """Where to listen if no flag says: on the sockets that the service manager passes, else locally."""
    from swapd.supervision.activation import passed_descriptors
    from swapd.supervision.listeners import PassedSockets, parse_listen

    if passed_descriptors(os.environ):
        return PassedSockets()
    return parse_listen(DEFAULT_TLS_LISTEN if options.tls else DEFAULT_LISTEN)


def _checked_tls(options: ServeOptions) -> TLS | None:
    """The TLS files, once they have been loaded to see whether they can be: a message beats a crash."""
    if options.tls_cert_file is None or options.tls_key_file is None:
        return None
    import ssl

    from swapd.http.server import TLS

    try:
        # An empty password, for otherwise OpenSSL would ask for the one of an encrypted key, and wait.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            options.tls_cert_file, options.tls_key_file, password=b""
        )
    except OSError as error:  # SSLError is one
        files = f"{options.tls_cert_file} and {options.tls_key_file}"
        raise CliError(
            f"cannot use the TLS files {files}: {error.strerror or error}",
            "give PEM files that belong together, the key without a password",
        ) from None
    return TLS(options.tls_cert_file, options.tls_key_file, password="")


def start_lines(
    options: ServeOptions,
    sources: Sources,
    config: Config,
    warnings: Sequence[Problem],
    listeners: Sequence[Listener],
    admin: AdminSocket | None = None,
) -> Iterator[str]:
    """What a person wants to know when the daemon has started, line by line for its log."""
    from swapd.config import render_problem

    yield f"swapd {BUILD.version} ({BUILD.commit})"
    places = [*sources.files, *([sources.directory] if sources.directory else [])]
    yield f"configuration: {', '.join(map(str, places))}; {_counted(len(config.models), 'model')}"
    if set(sources.files) & set(LLAMA_SWAP_PLACES):
        yield f"that is where llama-swap had it; the place for swapd's own is {MACHINE_CONFIG}"
    for warning in warnings:
        yield render_problem(warning)
    scheme = "https" if options.tls else "http"
    for listener in listeners:
        yield f"listening on {listener.url(scheme)}{' (all interfaces)' if listener.all_interfaces else ''}"
    if admin is not None:
        yield from admin.lines
    keys = len(config.api_keys)
    yield f"API keys: {keys or 'none, requests need no key'}"
    if not options.listen and all(listener.local_only for listener in listeners):
        yield "only this machine can reach swapd; to open it to others: --listen :8080, with apiKeys set"
    elif not keys and not all(listener.local_only for listener in listeners):
        yield (
            "WARNING: other machines can use this swapd without a key; set apiKeys in the configuration, "
            "or restrict it to this machine with --listen 127.0.0.1:8080"
        )
    shutdown = config.shutdown
    drain_s = shutdown.drain_s if options.drain_timeout_s is None else options.drain_timeout_s
    delay_s = shutdown.pre_stop_delay_s if options.pre_stop_delay_s is None else options.pre_stop_delay_s
    yield f"an orderly stop takes at most {delay_s + drain_s + BACKSTOP_S:g} s"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
