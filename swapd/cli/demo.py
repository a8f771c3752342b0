"""`swapd demo`: the daemon with three tiny models, to see what it does without having any of one's own.

The models are real and served by llama.cpp's own server, out of the wheel `xllamacpp`; where that cannot run,
the fake upstream stands in. They are written into the state directory, together with the configuration.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from swapd.cli import serve
from swapd.cli.arguments import FlagParser
from swapd.cli.errors import CliError, UsageError
from swapd.supervision.listeners import (
    ListenError,
    ListenSyntaxError,
    TcpAddress,
    UnixAddress,
    bind_all,
    parse_listen,
)
from swapd.testing.gguf import Kind, write_tiny_model
from swapd.testing.llama import wheel_problem
from swapd.testing.ports import free_port, free_ports, free_ports_from

FIRST_PORT: Final = 8080
_FIRST_UPSTREAM_PORT: Final = 5800


@frozen
class DemoModel:
    """One model of the demo. `flags` are llama.cpp's beyond those that all of them get."""

    id: str
    kind: Kind
    seed: int
    description: str
    flags: tuple[str, ...] = ()


MODELS: Final = (
    DemoModel("owl", "chat", 1, "a chat model that knows one sentence"),
    DemoModel("wren", "chat", 2, "another, so that there is something to swap"),
    DemoModel("finch", "embedding", 3, "turns a text into 64 numbers", ("--embeddings",)),
)


def run(argv: Sequence[str]) -> int:
    """Write models and configuration, show them, serve until a signal; returns the exit code."""
    values = _parser().parse(argv, os.environ)
    listen, remark = place_to_listen(values["listen"])
    problem = "--fake was given" if values["fake"] else wheel_problem()
    directory = values["state-dir"] or default_state_directory(os.environ) / _name(listen)
    command = fake_command if problem else llama_command
    config = config_text(directory, command, _first_upstream_port(listen))
    config_file = _write(directory, config, with_models=not problem)
    print(introduction(config_file, config, problem))
    print(remark + things_to_try(curl_address(listen)), flush=True)
    return serve.run(["--config", str(config_file), "--listen", listen, "--state-dir", str(directory)])


def default_state_directory(environ: Mapping[str, str]) -> Path:
    """Where swapd keeps what is to survive a restart, by systemd's and the XDG's conventions."""
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "/") / ".local/state"
    return Path(environ.get("STATE_DIRECTORY") or Path(home) / "swapd")


def llama_command(model: DemoModel, directory: Path) -> str:
    """The `cmd` that serves a model with llama.cpp."""
    words = [sys.executable, "-m", "swapd.testing.llama", "--port", "${PORT}"]
    return _command([*words, "-m", str(model_file(model, directory)), "-a", model.id, *model.flags])


def fake_command(model: DemoModel, directory: Path) -> str:
    """The `cmd` that stands in where llama.cpp cannot run."""
    words = [sys.executable, "-m", "swapd.testing.upstream", "--port", "${PORT}"]
    return _command([*words, "--model", model.id, "--load", "300ms", "--tps", "30"])


def model_file(model: DemoModel, directory: Path) -> Path:
    return directory / f"{model.id}.gguf"


def config_text(directory: Path, command: Callable[[DemoModel, Path], str], start_port: int) -> str:
    """The demo's configuration; a good first one to copy from."""
    lines = [
        "# Written by `swapd demo`, anew each time. To play with it: copy it, then",
        "#   swapd --config COPY",
    ]
    if start_port != _FIRST_UPSTREAM_PORT:
        lines.append(f"startPort: {start_port}")
    lines.append("models:")
    for model in MODELS:
        lines += [
            f"  {model.id}:",
            f"    description: {model.description}",
            f"    cmd: {command(model, directory)}",
        ]
    return "\n".join(lines) + "\n"


def introduction(config_file: Path, config: str, problem: str | None) -> str:
    """What is being served and why."""
    if problem is None:
        what = f"Three tiny models, served by llama.cpp itself. This is {config_file}:"
    else:
        what = f"A fake server stands in for llama.cpp ({problem}). This is {config_file}:"
    return f"\n{what}\n\n{_indented(config)}"


def things_to_try(address: str) -> str:
    """Commands to paste, with what each shows."""
    chat = '{"model": "%s", "messages": [{"role": "user", "content": "Who are you?"}]%s}'
    tries = (
        ("The first request starts owl", f"{address}/v1/chat/completions", chat % ("owl", "")),
        ("wren takes owl's place", f"{address}/v1/chat/completions", chat % ("wren", "")),
        ("An answer word by word", f"{address}/v1/chat/completions", chat % ("wren", ', "stream": true')),
        ("Numbers from a text", f"{address}/v1/embeddings", '{"model": "finch", "input": "a small bird"}'),
        ("Who is running now?", f"{address}/running", ""),
        ("What is there to ask?", f"{address}/v1/models", ""),
    )
    lines = ["Try these in another terminal; Ctrl-C here stops everything.", ""]
    for title, url, body in tries:
        given = f" -H 'Content-Type: application/json' -d '{body}'" if body else ""
        lines += [f"  # {title}", f"  curl -sSN {url}{given}; echo", ""]
    return "\n".join(lines)


def place_to_listen(given: str | None) -> tuple[str, str]:
    """Where to listen, and a remark on it. Raises `CliError` when nobody can listen there.

    What is printed has to be true, so a port is found, or the given one tried, before the daemon takes it.
    """
    if given is None:
        port = free_ports_from(FIRST_PORT, 1)
        remark = f"Port {FIRST_PORT} is taken on this machine; this swapd listens on {port}.\n\n"
        return f"127.0.0.1:{port}", remark if port != FIRST_PORT else ""
    try:
        address = parse_listen(given)
        if isinstance(address, TcpAddress) and address.port == 0:
            return given.removesuffix("0") + str(free_port()), ""
        curl_address(given)
        for listener in bind_all([address]):
            listener.close()
    except ListenSyntaxError as error:
        raise UsageError(f"wrong usage: {error}", error.hint) from None
    except ListenError as error:
        raise CliError(str(error), error.hint) from None
    return given, ""


def curl_address(listen: str) -> str:
    """What curl is to be told in order to reach a `--listen` address from this machine."""
    match parse_listen(listen):
        case TcpAddress(host=host, port=port):
            reachable = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
        case UnixAddress(path=path):
            return f"--unix-socket {shlex.quote(path)} http://localhost"
        case _:
            raise UsageError(f"wrong usage: the demo cannot listen on {listen!r}", "give host:port")


def _parser() -> FlagParser:
    parser = FlagParser("demo", "Serve three tiny models, to see what swapd does.")
    default = f"127.0.0.1:{FIRST_PORT}, or the next free port"
    parser.add_value("listen", f"host:port to listen on (default {default})", "ADDR")
    parser.add_value("state-dir", "where models and configuration are written", "DIR", Path)
    parser.add_switch("fake", "use the fake upstream even where llama.cpp could run")
    return parser


def _name(listen: str) -> str:
    """The directory of a demo at this address: two at a time must not share one."""
    _, _, port = listen.rpartition(":")
    return f"demo-{port}" if port.isdigit() and int(port) != FIRST_PORT else "demo"


def _first_upstream_port(listen: str) -> int:
    """The first of the ports for the models.

    The usual ones only for the first swapd of this machine: the models of another may be about to use them.
    """
    if listen == f"127.0.0.1:{FIRST_PORT}":
        return free_ports_from(_FIRST_UPSTREAM_PORT, len(MODELS))
    return free_ports(len(MODELS))


def _write(directory: Path, config: str, *, with_models: bool) -> Path:
    """Write what is to be served; the path of the configuration. Raises `CliError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for model in MODELS if with_models else ():
            path = model_file(model, directory)
            write_tiny_model(path, kind=model.kind, seed=model.seed, name=model.id)
        (directory / "config.yaml").write_text(config)
    except OSError as error:
        raise CliError(
            f"cannot write the demo's models: {error.filename}: {error.strerror}",
            "choose another --state-dir",
        ) from None
    return directory / "config.yaml"


def _command(words: Sequence[str]) -> str:
    return shlex.join(words).replace("'${PORT}'", "${PORT}")


def _indented(text: str) -> str:
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))
