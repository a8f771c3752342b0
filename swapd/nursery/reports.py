"""What an instance task tells the rest of swapd about its process.

Plain values, so that the scheduler can match on them without knowing an event loop or a process.
The order in which one instance sends them is fixed:

    Spawned                  the operating system has started the command (missing if it could not)
    Ready | StartTimedOut    at most one of the two; neither if the process ended or was stopped before
    Exited | Unresponsive    after Ready, if the process ended by itself or fails its liveness checks
    StopStuck                if the process was killed and has not ended some time after that
    Gone                     always, once, last; no process of the instance's tree is left

Every report carries the model and the generation (`gen`) of the instance, so that whoever receives
one that is out of date can tell and drop it.
"""

from __future__ import annotations

import enum

from msgspec import Struct


class EndingKind(enum.Enum):
    """Why an instance is gone, as far as blame goes."""

    SPAWN_FAILED = "spawn_failed"
    """The command never ran."""

    EXITED = "exited"
    """The process ended by itself: a crash, a premature exit, also an exit with status 0."""

    STOPPED = "stopped"
    """swapd asked for the end: a stop, a start that took too long, or the daemon's own shutdown."""


class Ending(Struct, frozen=True):
    """How an instance came to its end."""

    kind: EndingKind

    code: int | None = None
    """Exit status of the leader, if it exited."""

    signal: int | None = None
    """Number of the signal that killed the leader, if one did."""

    message: str = ""
    """For people: a first line with what happened and the exit status, then the last lines the
    instance wrote to stderr (at most 2 KiB, control characters escaped)."""


class Spawned(Struct, frozen=True):
    """The process runs; `pid` is the leader of its group and session."""

    model: str
    gen: int
    pid: int


class Ready(Struct, frozen=True):
    """The health endpoint answered 200, or the model has none and the process runs."""

    model: str
    gen: int


class StartTimedOut(Struct, frozen=True):
    """Not ready within the limit. The process is being torn down; `Gone` follows."""

    model: str
    gen: int

    message: str
    """For people: the limit, the last probe's result, then the last lines of stderr."""


class Exited(Struct, frozen=True):
    """It was ready, and its leader has just ended by itself. The rest of its tree is being removed; `Gone`
    follows and tells more.
    """

    model: str
    gen: int


class Unresponsive(Struct, frozen=True):
    """It was ready, but answers neither health checks nor requests any more. It is being torn down; `Gone`
    follows.
    """

    model: str
    gen: int

    message: str
    """For people: how many checks failed and the last one's result, then the last lines of stderr."""


class StopStuck(Struct, frozen=True):
    """The process has not ended ten seconds after SIGKILL: only the kernel can say when it will."""

    model: str
    gen: int


class Gone(Struct, frozen=True):
    """No process of this instance exists any more."""

    model: str
    gen: int
    ending: Ending


InstanceReport = Spawned | Ready | StartTimedOut | Exited | Unresponsive | StopStuck | Gone
