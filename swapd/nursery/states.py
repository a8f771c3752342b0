"""The states of a model and the moves between them: the one table.

There is no "failed" state. A model whose server crashed or would not start is `stopped`, and the next request
may start it again; how often is the breaker's business (`breaker.py`).
"""

from __future__ import annotations

import enum


class ModelState(enum.Enum):
    """What a model's server is doing, in the words the HTTP API uses."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    SHUTDOWN = "shutdown"
    """Terminal: the daemon ended, or a reload removed the model."""


TRANSITIONS: dict[ModelState, dict[ModelState, str]] = {
    ModelState.STOPPED: {
        ModelState.STARTING: "a swap reaches its start step",
        ModelState.SHUTDOWN: "the daemon ends, or the model was removed",
    },
    ModelState.STARTING: {
        ModelState.READY: "the health check answered 200",
        ModelState.STOPPING: "stop request, start timeout, abandoned load, reload, shutdown",
        ModelState.STOPPED: "the process ended before it was ready",
        ModelState.SHUTDOWN: "the daemon ends",
    },
    ModelState.READY: {
        ModelState.STOPPING: "eviction, unload, idle time over, reload, no sign of life, shutdown",
        ModelState.STOPPED: "the process ended by itself",
        ModelState.SHUTDOWN: "the daemon ends",
    },
    ModelState.STOPPING: {
        ModelState.STOPPED: "the leader is reaped and its whole tree is gone",
        ModelState.SHUTDOWN: "the daemon ends",
    },
    ModelState.SHUTDOWN: {},
}
"""From → to → what brings it about. A move that is not in here is a bug and raises `IllegalTransition`."""

RUNNING = frozenset({ModelState.STARTING, ModelState.READY, ModelState.STOPPING})
"""States that hold the machine's memory, and so count for eviction and for "loaded" in listings."""


class IllegalTransition(AssertionError):
    """The core tried a move that `TRANSITIONS` does not know: always a bug in swapd."""


def check_transition(model: str, old: ModelState, new: ModelState) -> None:
    """Raise `IllegalTransition` unless `old` → `new` is in the table."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{model}: {old.value} → {new.value}")


def diagram() -> str:
    """The table as a Mermaid state diagram, for the design note."""
    arrows = [
        f"    {old.value} --> {new.value}: {trigger}"
        for old, moves in TRANSITIONS.items()
        for new, trigger in moves.items()
    ]
    return "\n".join(["stateDiagram-v2", "    [*] --> stopped", *arrows])
