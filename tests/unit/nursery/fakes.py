"""A launcher and a prober for a world without processes, on trio's clock.

What a process does is said beforehand by a `Behaviour`: how long its spawn takes, when it becomes ready,
when it ends by itself, how it takes SIGTERM and SIGKILL. A test can also interfere while it runs, with
`FakeProcess.exit`, `become_ready` and `write`. Together with a `MockClock` everything happens at exact times.
"""

from __future__ import annotations

import math
from itertools import count

import trio
from attrs import define, field, frozen

from swapd.nursery.launcher import ExitStatus, LaunchError, LaunchSpec, OutputSink, StopGrace
from swapd.nursery.prober import ProbeKind, ProbeResult

REFUSED = ProbeResult(ProbeKind.REFUSED, "connection refused")
HUNG = ProbeResult(ProbeKind.HUNG, "no answer")
LOADING = ProbeResult(ProbeKind.BAD_STATUS, "status 503")
READY = ProbeResult(ProbeKind.READY, "status 200")

EXIT_1 = ExitStatus(code=1)
BY_SIGTERM = ExitStatus(signal=15)
BY_SIGKILL = ExitStatus(signal=9)


@frozen(kw_only=True)
class Behaviour:
    """What becomes of one process. Times in seconds; None: it never happens."""

    spawn_s: float = 0.0
    """How long the launch takes."""
    launch_error: str | None = None
    """The launch fails with this text, after `spawn_s`."""
    ready_after_s: float | None = 0.0
    """From the spawn until its health endpoint answers 200."""
    until_ready: ProbeResult = REFUSED
    """What a probe gets before; `HUNG` lets it wait for its whole limit."""
    exit_after_s: float | None = None
    """From the spawn until it ends by itself, with `exit_status`."""
    exit_status: ExitStatus = EXIT_1
    term_s: float | None = 0.0
    """From SIGTERM to the end; None ignores SIGTERM."""
    term_status: ExitStatus = BY_SIGTERM
    kill_s: float | None = 0.0
    """From SIGKILL to the end; None is stuck in the kernel until `exit` is called."""
    notice_s: float = 0.0
    """From its end until whoever waits for it learns of it."""
    cleanup_s: float = 0.0
    """How long the rest of its tree takes to go, once the leader has ended."""
    stderr: str = ""


NORMAL = Behaviour()


@define(eq=False)
class FakeProcess:
    """A process that exists on the clock only. `signals` lists what it was sent, with the times."""

    spec: LaunchSpec
    behaviour: Behaviour
    pid: int
    sink: OutputSink
    started_at: float = field(factory=trio.current_time)
    stderr_tail: str = ""
    stuck: bool = False
    gone: bool = False
    """The whole tree has been cleaned up."""
    signals: list[tuple[str, float]] = field(factory=list)
    _ready_at: float = math.inf
    _ends_at: float = math.inf
    _status: ExitStatus = EXIT_1
    _changed: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.stderr_tail = self.behaviour.stderr
        if self.behaviour.ready_after_s is not None:
            self._ready_at = self.started_at + self.behaviour.ready_after_s
        goes_to_background = self.spec.detached and self.behaviour.exit_status.code == 0
        if self.behaviour.exit_after_s is not None and not goes_to_background:
            self._end_at(self.started_at + self.behaviour.exit_after_s, self.behaviour.exit_status)

    @property
    def base_url(self) -> str:
        return self.spec.base_url

    @property
    def alive(self) -> bool:
        return self.poll() is None

    @property
    def ready(self) -> bool:
        return self.alive and trio.current_time() >= self._ready_at

    # -- what a test does to it

    def become_ready(self) -> None:
        self._ready_at = trio.current_time()

    def fall_silent(self) -> None:
        """Answer no health check any more."""
        self._ready_at = math.inf

    def exit(self, status: ExitStatus = EXIT_1) -> None:
        """End now, unasked."""
        self._end_at(trio.current_time(), status)

    def write(self, chunk: bytes, *, stderr: bool = False) -> None:
        self.sink(chunk, stderr)

    # -- what the instance does to it

    def poll(self) -> ExitStatus | None:
        return self._status if trio.current_time() >= self._ends_at else None

    async def wait(self) -> ExitStatus:
        await trio.lowlevel.checkpoint()
        while (status := self.poll()) is None:
            with trio.move_on_at(self._ends_at):
                await self._changed.wait()
        if self.behaviour.notice_s:
            await trio.sleep_until(self._ends_at + self.behaviour.notice_s)
        return status

    async def stop(self, grace: StopGrace) -> ExitStatus:
        if self.alive and not self.signals:
            self._note("SIGTERM")
            if self.behaviour.term_s is not None:
                self._end_at(trio.current_time() + self.behaviour.term_s, self.behaviour.term_status)
        with grace.limit():
            await self.wait()
        if self.alive:
            self.kill()
        with trio.move_on_after(10):
            await self.wait()
        self.stuck = self.alive
        status = await self.wait()
        self.stuck = False
        await self.cleanup()
        return status

    async def cleanup(self) -> None:
        await trio.sleep(self.behaviour.cleanup_s)
        self.gone = True

    def kill(self) -> None:
        if not self.alive:
            return
        self._note("SIGKILL")
        if self.behaviour.kill_s is not None:
            self._end_at(trio.current_time() + self.behaviour.kill_s, BY_SIGKILL)

    def _note(self, signal: str) -> None:
        self.signals.append((signal, trio.current_time()))

    def _end_at(self, time: float, status: ExitStatus) -> None:
        if time < self._ends_at:
            self._ends_at, self._status = time, status
            changed, self._changed = self._changed, trio.Event()
            changed.set()


class FakeLauncher:
    """Launches `FakeProcess`es. `launched` has all specs in order, `processes` all processes."""

    def __init__(self, behaviour: Behaviour = NORMAL) -> None:
        self.default = behaviour
        self.launched: list[LaunchSpec] = []
        self.processes: list[FakeProcess] = []
        self._planned: dict[str, list[Behaviour]] = {}
        self._pids = count(1000)

    def plan(self, model: str, *behaviours: Behaviour) -> None:
        """The next processes of `model` behave like this, one after the other; the last one stays in
        force."""
        self._planned[model] = list(behaviours)

    def alive(self, model: str | None = None) -> list[FakeProcess]:
        """The processes that have not been cleaned up, of one model or of all."""
        return [each for each in self.processes if not each.gone and model in (None, each.spec.model)]

    def process(self, model: str) -> FakeProcess:
        """The newest process of a model."""
        return [each for each in self.processes if each.spec.model == model][-1]

    async def launch(self, spec: LaunchSpec, output: OutputSink) -> FakeProcess:
        behaviour = self._next_behaviour(spec.model)
        self.launched.append(spec)
        if behaviour.spawn_s:
            await trio.sleep(behaviour.spawn_s)
        if behaviour.launch_error is not None:
            raise LaunchError(behaviour.launch_error)
        process = FakeProcess(spec, behaviour, next(self._pids), output)
        self.processes.append(process)
        return process

    def _next_behaviour(self, model: str) -> Behaviour:
        planned = self._planned.get(model)
        if not planned:
            return self.default
        return planned.pop(0) if len(planned) > 1 else planned[0]


class FakeProber:
    """Asks the fake processes of a launcher. `probes` has the time and URL of each attempt."""

    def __init__(self, launcher: FakeLauncher) -> None:
        self.probes: list[tuple[float, str]] = []
        self._launcher = launcher

    async def probe(self, url: str, timeout_s: float) -> ProbeResult:
        self.probes.append((trio.current_time(), url))
        await trio.lowlevel.checkpoint()
        process = self._behind(url)
        if process is None:
            return REFUSED
        if process.ready:
            return READY
        if process.behaviour.until_ready.kind is ProbeKind.HUNG:
            await trio.sleep(timeout_s)
        return process.behaviour.until_ready

    def _behind(self, url: str) -> FakeProcess | None:
        for process in self._launcher.processes:
            if process.alive and url.startswith(process.base_url):
                return process
        return None
