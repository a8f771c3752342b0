"""What the tests with real llama.cpp servers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from swapd.testing.daemon import llama_command
from swapd.testing.gguf import Kind
from swapd.testing.llama import wheel_problem


class Serve(Protocol):
    """What the fixture `serve` gives: a command that serves a tiny model of a kind, with further flags."""

    def __call__(self, kind: Kind, *flags: str) -> str: ...


@pytest.fixture(scope="session")
def serve(tiny_model: Callable[[Kind], Path]) -> Serve:
    """Commands for the configuration: `serve("chat", "-a", "owl")` runs llama.cpp on a tiny model."""
    if problem := wheel_problem():
        pytest.skip(problem)
    return lambda kind, *flags: llama_command(tiny_model(kind), *flags)
