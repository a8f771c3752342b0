"""The test kit: what swapd is tested with, and what you can test your own set-up with.

Programs:

- `python -m swapd.testing.upstream`: a fake model server with every fault worth rehearsing.
- `python -m swapd.testing.gguf`: writes tiny, valid GGUF models.
- `python -m swapd.testing.llama`: llama.cpp's own server out of the wheel `xllamacpp`.

In Python, all to be had from this package:

- `run_daemon` runs a real `swapd serve` for the length of a block, `run_swapd` any command of swapd;
  both give a `Daemon`. `upstream_command` and `llama_command` are commands for its configuration.
- `serve_upstream` runs the fake server inside a trio program and gives a `LocalUpstream`; `RemoteUpstream`
  steers one that runs as a process.
- `write_tiny_model` writes a model; `CHAT_TEXT` is what it says.

`swapd.testing.fixtures` has them as pytest fixtures: put `pytest_plugins = ["swapd.testing.fixtures"]`
into your `conftest.py`. docs/testing.md shows how to use them.

A name is imported when it is first used, so that the fake upstream, which tests start by the hundred, is
listening a few hundredths of a second after its exec.
"""

from __future__ import annotations

TYPE_CHECKING = False  # instead of importing typing, for the same reason

if TYPE_CHECKING:
    from swapd.testing.daemon import (
        Daemon,
        DaemonError,
        llama_command,
        run_daemon,
        run_swapd,
        upstream_command,
    )
    from swapd.testing.gguf import CHAT_TEXT, write_tiny_model
    from swapd.testing.upstream.local import LocalUpstream, serve_upstream
    from swapd.testing.upstream.remote import RemoteUpstream

__all__ = [
    "CHAT_TEXT",
    "Daemon",
    "DaemonError",
    "LocalUpstream",
    "RemoteUpstream",
    "llama_command",
    "run_daemon",
    "run_swapd",
    "serve_upstream",
    "upstream_command",
    "write_tiny_model",
]

_HOMES = {
    "daemon": ("Daemon", "DaemonError", "llama_command", "run_daemon", "run_swapd", "upstream_command"),
    "gguf": ("CHAT_TEXT", "write_tiny_model"),
    "upstream.local": ("LocalUpstream", "serve_upstream"),
    "upstream.remote": ("RemoteUpstream",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
