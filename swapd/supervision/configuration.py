"""The configuration in force: what it is, where it came from, and how it is replaced while the daemon runs.

SIGHUP, the watcher and the API all end here and get the same answer. One reload runs at a time. Whatever
asks for one while it runs causes exactly one more afterwards, so the last edit always wins. A configuration
that does not load, or that the daemon cannot apply, changes nothing: the old one stays, and `status` says
why."""

from __future__ import annotations

import enum
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import trio
from attrs import evolve, frozen

from swapd.config import Config, Loaded, Problem, Sources, load, render_problem
from swapd.config.reading import ReadFile
from swapd.config.watch import EMPTY_DIGEST, SETTLE_S, SourceWatch


class Trigger(enum.Enum):
    """Who asked for the load."""

    START = "start"
    SIGNAL = "signal"
    WATCH = "watch"
    API = "api"


class ConfigState(enum.Enum):
    OK = "ok"
    REJECTED = "rejected"
    """The newest attempt failed; the configuration before it is in force."""
    RELOADING = "reloading"


@frozen
class Changes:
    """What a reload did, by model id; the parts are disjoint."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


@frozen
class ConfigStatus:
    """The answer to "which configuration is in force, and did the last reload work?"."""

    generation: int
    """Counts the configurations that were applied, from 1."""
    state: ConfigState
    sources: tuple[ReadFile, ...]
    loaded_at: float
    """When the configuration in force was applied, in seconds since the epoch."""
    trigger: Trigger
    message: str = ""
    """Why the newest attempt was rejected; empty if it was not."""
    problems: tuple[Problem, ...] = ()
    """Of the newest attempt, warnings included."""
    changes: Changes = Changes()
    """What the newest applied reload changed."""
    needs_restart: tuple[str, ...] = ()
    """Keys that only take effect after a restart. There is none at present."""


Apply = Callable[[Config], Awaitable[Changes | None]]
"""Puts a valid configuration in force; None if the daemon is ending. May raise `CannotApply`."""


class CannotApply(Exception):
    """A valid configuration that cannot be put in force; the text says why."""


class ConfigurationInForce:
    """Owner of the configuration; `current` and `status` are always those of the last success.

    `run` must run for reloads to happen. `beside` are files that the watcher watches as well, such as
    certificates. `ports_in_use` tells the ports that models and leftover processes
    hold, by model id; models keep theirs."""

    def __init__(
        self,
        sources: Sources,
        loaded: Loaded,
        *,
        environ: Mapping[str, str],
        ports_in_use: Callable[[], Mapping[str, int]],
        beside: tuple[Path, ...] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        if loaded.config is None:
            raise ValueError("a daemon starts with a valid configuration")
        self._sources = sources
        self._environ = environ
        self._ports_in_use = ports_in_use
        self._now = now
        self._watch = SourceWatch(sources)
        self._beside = beside
        self._watch.applied(_digests(loaded), self._other_files(loaded.config))
        self._callers: list[trio.Event] = []
        self._trigger: Trigger | None = None
        self._wanted = trio.Event()
        self.current: Config = loaded.config
        self.status = ConfigStatus(
            1, ConfigState.OK, loaded.files, now(), Trigger.START, problems=loaded.problems
        )

    def request(self, trigger: Trigger) -> trio.Event:
        """Ask for a reload; the event is set when one that began after this call has ended."""
        done = trio.Event()
        self._callers.append(done)
        if self._trigger is None or trigger is not Trigger.WATCH:
            self._trigger = trigger  # whoever asks for it in person gets it as it stands
        self._wanted.set()
        return done

    async def reload(self, trigger: Trigger) -> ConfigStatus:
        """Reload, and return what came of it. Cancelling it ends the waiting only."""
        await self.request(trigger).wait()
        return self.status

    async def run(
        self,
        apply: Apply,
        report: Callable[[ConfigStatus], None],
        during: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Carry out the reloads that are asked for, until cancelled. Sleeps while none is.

        `report` is told every outcome; it must not block. Each reload takes place within a block of `during`,
        at whose end the outcome is in `status`.
        """
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            callers, self._callers = self._callers, []
            trigger, self._trigger = self._trigger or Trigger.API, None
            before = self.status
            with during():
                self.status = evolve(before, state=ConfigState.RELOADING)
                self.status = await self._attempt(trigger, before, apply)
                report(self.status)
            for caller in callers:
                caller.set()

    async def watch(self, interval_s: float, report_trouble: Callable[[str], None]) -> None:
        """Reload when the sources change, until cancelled. Looks every `interval_s` seconds."""
        self._watch.interval_s = interval_s
        while True:
            step = await trio.to_thread.run_sync(self._watch.step, trio.current_time())
            if step.trouble:
                report_trouble(step.trouble)
            if step.changed:
                await self.reload(Trigger.WATCH)
            await trio.sleep(step.wait_s)

    async def _attempt(self, trigger: Trigger, before: ConfigStatus, apply: Apply) -> ConfigStatus:
        loaded = await self._load_at_rest() if trigger is Trigger.WATCH else await self._load()
        # What was looked at is known, accepted or not: the same mistake is not reported again and again.
        also = self._watch.also if loaded.config is None else self._other_files(loaded.config)
        self._watch.applied(_digests(loaded), also)
        rejected = evolve(before, state=ConfigState.REJECTED, trigger=trigger, problems=loaded.problems)
        if loaded.config is None:
            return evolve(rejected, message=render_problem(loaded.errors[0]))
        if emptied := _emptied(before.sources, loaded.files):
            return evolve(
                rejected,
                message=f"{emptied} is empty, and held a configuration before: taken for half-written; "
                "a configuration without models says `models: {}`",
            )
        try:
            changes = await apply(loaded.config)
        except CannotApply as error:
            return evolve(rejected, message=str(error))
        if changes is None:
            return before
        self.current = loaded.config
        return ConfigStatus(
            generation=before.generation + 1,
            state=ConfigState.OK,
            sources=loaded.files,
            loaded_at=self._now(),
            trigger=trigger,
            problems=loaded.problems,
            changes=changes,
        )

    async def _load(self) -> Loaded:
        return await trio.to_thread.run_sync(
            partial(
                load,
                self._sources,
                environ=self._environ,
                sticky_ports=self._assigned_ports(),
                busy_ports=self._ports_in_use().values(),
            )
        )

    async def _load_at_rest(self) -> Loaded:
        """Load what the watcher saw come to rest. What has begun to change again since is waited for."""
        loaded = await self._load()
        before: dict[Path, str] | None = None
        while not self._watch.is_what_settled(_digests(loaded)) and _digests(loaded) != before:
            await trio.sleep(SETTLE_S)
            before, loaded = _digests(loaded), await self._load()
        return loaded

    def _other_files(self, config: Config) -> tuple[Path, ...]:
        """The files beside the sources that a configuration was made of, or that are read again with it."""
        return (*(key.file for key in config.api_keys if key.file is not None), *self._beside)

    def _assigned_ports(self) -> dict[str, int]:
        return {id: model.port for id, model in self.current.models.items() if model.port is not None}


def _emptied(before: Iterable[ReadFile], now: Iterable[ReadFile]) -> Path | None:
    """A file that had something in it and has nothing now, as while an editor or a copy writes it anew."""
    held = {file.path for file in before if file.sha256 != EMPTY_DIGEST}
    return next((file.path for file in now if file.sha256 == EMPTY_DIGEST and file.path in held), None)


def _digests(loaded: Loaded) -> dict[Path, str]:
    return {file.path: file.sha256 for file in loaded.files}
