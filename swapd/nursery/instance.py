"""One upstream process, from the spawn to the last of its descendants.

    launch ──▶ Spawned ──▶ probing ──▶ Ready ──────────────▶ running ─ no sign of life ▶ Unresponsive ─┐
      │                      │ └─ limit ▶ StartTimedOut ─┐      │                                      │
      │                      │                           │      │                                      │
      │ failed, or a stop    ├─ stop wanted, cancelled ──┴──────┼──▶ stop the tree ──▶ Gone ◀──────────┘
      ▼ came first           └─ process ended by itself ────────┴──▶ clean up ───────▶ Gone
     Gone

The end of the process is seen the moment it happens, in every state, and beats whatever a probe says:
by then the port may be somebody else's.
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Callable
from urllib.parse import urlsplit

import trio
from msgspec import Struct

from swapd.nursery.launcher import (
    ExitStatus,
    Launcher,
    LaunchError,
    LaunchSpec,
    OutputSink,
    Process,
    StopGrace,
)
from swapd.nursery.prober import ProbeKind, Prober, ProbeResult, is_loopback
from swapd.nursery.readiness import FIRST_DELAY_S, OutputHints, ProbePace
from swapd.nursery.reports import (
    Ending,
    EndingKind,
    Exited,
    Gone,
    InstanceReport,
    Ready,
    Spawned,
    StartTimedOut,
    StopStuck,
    Unresponsive,
)

_PROBE_LIMIT_S = 2.0
_ABORT_GRACE_S = 5.0
_CANCEL_GRACE_S = 1.0
_LOOK_WHETHER_STUCK_S = 1.0
_READY_AT_ONCE = ProbeResult(ProbeKind.READY)


class Liveness(Struct, frozen=True):
    """A ready server is checked every `interval_s` seconds; `failures` bad checks in a row end it, if no
    response has brought anything meanwhile: some servers answer no check while they compute."""

    interval_s: float
    failures: int


class Activity:
    """What has come from an instance in response to requests: a number that only grows.

    Whoever relays responses adds to `chunks` for every piece that arrives; the liveness checks look at it.
    """

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks = 0


class InstanceSpec(Struct, frozen=True):
    """What one instance is and when it counts as ready."""

    launch: LaunchSpec

    check_url: str | None
    """Answers 200 when the model is loaded. None: ready as soon as the process runs."""

    health_timeout_s: float
    """From the first probe on; whoever is not ready by then is torn down."""

    ready_hint: re.Pattern[str] | None = None
    """Output that says the server is about to be ready."""

    liveness: Liveness | None = None
    """How to notice that a ready server has died inside; None: only by the end of its process."""


class InstanceControl:
    """The handle by which the owner of an instance ends it. Made before `run_instance` is called.

    The mutable state is the grace, which exists as soon as a stop is wanted, and the process, while
    there is one. `run_instance`, below, is the other party and uses both.
    """

    def __init__(self) -> None:
        self._grace: StopGrace | None = None
        self._wanted = trio.Event()
        self._process: Process | None = None
        self.activity = Activity()

    def request_stop(self, grace_s: float) -> None:
        """End the process, killing what is left of it after `grace_s` seconds. May be called at any
        time and again: a later call can only bring the end nearer."""
        deadline = trio.current_time() + grace_s
        if self._grace is None:
            self._grace = StopGrace(deadline)
            self._wanted.set()
        else:
            self._grace.shorten(deadline)

    def kill(self) -> None:
        """SIGKILL to the whole tree, now."""
        self.request_stop(0)
        if self._process is not None:
            self._process.kill()

    @property
    def stuck(self) -> bool:
        """SIGKILL was sent ten seconds ago or longer and the process has still not ended."""
        return self._process is not None and self._process.stuck


async def run_instance(
    spec: InstanceSpec,
    control: InstanceControl,
    launcher: Launcher,
    prober: Prober,
    report: Callable[[InstanceReport], None],
    output: OutputSink,
) -> None:
    """Start a process, tell when it is ready, and return when its whole tree is gone.

    Reports `Spawned`, then `Ready` or `StartTimedOut` if it comes to that, `Exited` or `Unresponsive` if a
    ready process ends by itself or fails its liveness checks, `StopStuck` if it does not go when it is
    killed, and `Gone` exactly once, at the end. `report` and `output` are called synchronously and must not
    block.

    Cancelling it stops the process with a grace of one second, shielded: it returns after at most that
    and some two seconds of clean-up, unless the kernel does not let go of the process.
    """
    instance = _Instance(spec, control, launcher, prober, report, output)
    try:
        await instance.run()
    finally:
        report(Gone(spec.launch.model, spec.launch.gen, instance.ending))


class _Instance:
    """The course of `run_instance`. The mutable state: whether the process became ready, whether it then gave
    no sign of life any more, and how it ended."""

    def __init__(
        self,
        spec: InstanceSpec,
        control: InstanceControl,
        launcher: Launcher,
        prober: Prober,
        report: Callable[[InstanceReport], None],
        output: OutputSink,
    ) -> None:
        self._spec = spec
        self._control = control
        self._launcher = launcher
        self._prober = prober
        self._report = report
        self._output = output
        self._hints: OutputHints | None = None
        self._ready = False
        self._unresponsive = False
        self.ending = Ending(EndingKind.STOPPED, message="stopped before it was started")

    async def run(self) -> None:
        exited: ExitStatus | None = None
        try:
            await self._launch()
            if self._control._process is not None:
                exited = await self._watch(self._control._process)
        finally:
            if self._control._process is not None:
                await self._tear_down(self._control._process, exited)
                self._control._process = None

    async def _launch(self) -> None:
        """Start the process, unless a stop is wanted before it runs."""
        if self._control._wanted.is_set():
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_stop_is_wanted, nursery.cancel_scope)
            try:
                # Handed over in the same step: a cancellation that arrives now must find it.
                self._control._process = await self._launcher.launch(self._spec.launch, self._take_output)
            except LaunchError as error:
                self.ending = Ending(EndingKind.SPAWN_FAILED, message=str(error))
            nursery.cancel_scope.cancel()

    async def _watch(self, process: Process) -> ExitStatus | None:
        """Until the process ends by itself (returns how) or is to be ended (returns None)."""
        exited: ExitStatus | None = None
        launch = self._spec.launch

        async def see_exit() -> None:
            nonlocal exited
            exited = await process.wait()
            if self._ready and not self._control._wanted.is_set():
                self._report(Exited(launch.model, launch.gen))
            nursery.cancel_scope.cancel()

        async def see_it_become_ready_and_stay_alive() -> None:
            if not (await self._become_ready(process) and await self._stay_alive(process)):
                nursery.cancel_scope.cancel()

        self._report(Spawned(launch.model, launch.gen, process.pid))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(see_exit)
            nursery.start_soon(self._cancel_when_stop_is_wanted, nursery.cancel_scope)
            nursery.start_soon(see_it_become_ready_and_stay_alive)
        return exited

    async def _become_ready(self, process: Process) -> bool:
        """Probe until the process is ready; False if it is not in time. Both are reported, unless the
        process has ended or is to be ended by now."""
        last = await self._probe() if self._spec.check_url is not None else _READY_AT_ONCE
        self._hints = None
        if process.poll() is not None or self._control._wanted.is_set():
            return True  # whoever answered, it was not this process, or it no longer matters
        launch = self._spec.launch
        if last.kind is ProbeKind.READY:
            self._ready = True
            self._report(Ready(launch.model, launch.gen))
            return True
        text = f"health check timed out after {self._spec.health_timeout_s:g}s (last probe: {last.detail})"
        self._report(StartTimedOut(launch.model, launch.gen, _with_stderr(text, process)))
        return False

    async def _probe(self) -> ProbeResult:
        """The first good result, or the last bad one when the time is up."""
        assert self._spec.check_url is not None
        url = urlsplit(self._spec.check_url)
        hints = self._hints = OutputHints(url.path, self._spec.ready_hint)
        pace = ProbePace(loopback=is_loopback(url.hostname or ""))
        first = trio.current_time()
        deadline = first + self._spec.health_timeout_s
        while True:
            started = trio.current_time()
            result = await self._prober.probe(self._spec.check_url, min(_PROBE_LIMIT_S, deadline - started))
            now = trio.current_time()
            if result.kind is ProbeKind.READY or now >= deadline:
                return result
            due = min(now + pace.next_delay(result.kind, now - first), deadline)
            await hints.wait(due, not_before=started + FIRST_DELAY_S)
            if trio.current_time() >= deadline:
                return result

    async def _stay_alive(self, process: Process) -> bool:
        """Check a ready process for as long as it gives signs of life; False when it does not any more, which
        has been reported then. True at once if it is not to be checked."""
        url, liveness = self._spec.check_url, self._spec.liveness
        if not self._ready or url is None or liveness is None:
            return True
        failures, heard = 0, self._control.activity.chunks
        while True:
            await trio.sleep(liveness.interval_s)
            result = await self._prober.probe(url, _PROBE_LIMIT_S)
            if result.kind is ProbeKind.READY or self._control.activity.chunks != heard:
                failures, heard = 0, self._control.activity.chunks
                continue
            failures += 1
            if failures >= liveness.failures:
                break
        if process.poll() is None and not self._control._wanted.is_set():
            self._unresponsive = True
            text = f"no sign of life: {failures} health checks failed in a row (the last: {result.detail})"
            launch = self._spec.launch
            self._report(Unresponsive(launch.model, launch.gen, _with_stderr(text, process)))
        return False

    async def _tear_down(self, process: Process, exited: ExitStatus | None) -> None:
        """Remove every trace of the process, whether it has ended by itself or is to be ended now."""
        wanted = self._control._wanted.is_set()
        if not self._ready or self._unresponsive:
            self._control.request_stop(_ABORT_GRACE_S)
        elif not wanted:
            self._control.request_stop(_CANCEL_GRACE_S)
        grace = self._control._grace
        assert grace is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_shorten_when_cancelled, grace)
            with trio.CancelScope(shield=True):
                if exited is None:
                    status = await self._stop(process, grace)
                else:
                    status = exited
                    await process.cleanup()
            self.ending = self._describe(process, status, by_itself=exited is not None and not wanted)
            nursery.cancel_scope.cancel()

    async def _stop(self, process: Process, grace: StopGrace) -> ExitStatus:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_if_stuck, process, grace)
            status = await process.stop(grace)
            nursery.cancel_scope.cancel()
        return status

    async def _report_if_stuck(self, process: Process, grace: StopGrace) -> None:
        with grace.limit():
            await trio.sleep_forever()
        while not process.stuck:  # noqa: ASYNC110 - seldom gets here, and is then cancelled almost at once
            await trio.sleep(_LOOK_WHETHER_STUCK_S)
        self._report(StopStuck(self._spec.launch.model, self._spec.launch.gen))

    def _describe(self, process: Process, status: ExitStatus, *, by_itself: bool) -> Ending:
        if not by_itself:
            text = f"stopped: {status.text}"
            return Ending(EndingKind.STOPPED, status.code, status.signal, _with_stderr(text, process))
        text = "upstream command exited" if self._ready else "upstream command exited prematurely"
        text += f": {status.text}"
        if status.signal == signals.SIGKILL:
            text += ", possibly out of memory"
        if not self._ready and status.code == 0:
            text += " (it must stay in the foreground as long as it serves)"
        return Ending(EndingKind.EXITED, status.code, status.signal, _with_stderr(text, process))

    async def _cancel_when_stop_is_wanted(self, scope: trio.CancelScope) -> None:
        await self._control._wanted.wait()
        scope.cancel()

    def _take_output(self, chunk: bytes, is_stderr: bool) -> None:
        self._output(chunk, is_stderr)
        if self._hints is not None:
            self._hints.feed(chunk, is_stderr)


async def _shorten_when_cancelled(grace: StopGrace) -> None:
    """While a stop is shielded from cancellation, let a cancellation at least hurry it."""
    try:
        await trio.sleep_forever()
    finally:
        grace.shorten(trio.current_time() + _CANCEL_GRACE_S)


def _with_stderr(text: str, process: Process) -> str:
    tail = process.stderr_tail
    return f"{text}\n{tail}" if tail else text
