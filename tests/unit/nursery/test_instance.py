"""The course of one instance, on a virtual clock (which a test must take as an argument to get it)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.nursery.instance import InstanceControl, InstanceSpec, Liveness, run_instance
from swapd.nursery.launcher import ExitStatus, LaunchSpec
from swapd.nursery.prober import ProbeResult
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
from tests.unit.nursery.fakes import (
    HUNG,
    LOADING,
    READY,
    REFUSED,
    Behaviour,
    FakeLauncher,
    FakeProber,
    FakeProcess,
)

URL = "http://127.0.0.1:5800"
NOTICED_S = 0.030


def spec(*, check: bool = True, limit_s: float = 60, ready_hint: str | None = None) -> InstanceSpec:
    return InstanceSpec(
        LaunchSpec(model="owl", gen=7, argv=("serve",), base_url=URL),
        check_url=f"{URL}/health" if check else None,
        health_timeout_s=limit_s,
        ready_hint=re.compile(ready_hint) if ready_hint else None,
    )


@define
class Run:
    """An instance under test: what it reported, with the times, and the handles to interfere."""

    launcher: FakeLauncher
    control: InstanceControl = field(factory=InstanceControl)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    log: list[tuple[float, InstanceReport]] = field(factory=list)
    output: list[tuple[bytes, bool]] = field(factory=list)
    prober: FakeProber = field(init=False)
    started_at: float = field(factory=trio.current_time)
    finished: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.prober = FakeProber(self.launcher)

    @property
    def process(self) -> FakeProcess:
        return self.launcher.process("owl")

    @property
    def reports(self) -> list[InstanceReport]:
        return [each for _, each in self.log]

    @property
    def kinds(self) -> list[type[InstanceReport]]:
        return [type(each) for each in self.reports]

    @property
    def ending(self) -> Ending:
        last = self.reports[-1]
        assert isinstance(last, Gone)
        return last.ending

    @property
    def signals(self) -> list[tuple[str, float]]:
        return [(name, time - self.started_at) for name, time in self.process.signals]

    def time_of(self, kind: type[InstanceReport]) -> float:
        """Seconds from the beginning to the report of this kind."""
        return next(time - self.started_at for time, each in self.log if isinstance(each, kind))

    async def go(self, spec: InstanceSpec) -> None:
        def report(each: InstanceReport) -> None:
            self.log.append((trio.current_time(), each))

        def output(chunk: bytes, is_stderr: bool) -> None:
            self.output.append((chunk, is_stderr))

        try:
            with self.scope:
                await run_instance(spec, self.control, self.launcher, self.prober, report, output)
        finally:
            self.finished.set()


@asynccontextmanager
async def running(behaviour: Behaviour, spec: InstanceSpec) -> AsyncIterator[Run]:
    """An instance in the background; ended by the end of the block at the latest."""
    run = Run(FakeLauncher(behaviour))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.go, spec)
        yield run
        nursery.cancel_scope.cancel()


# -- becoming ready


async def test_given_a_server_when_it_answers_then_spawned_ready_and_after_a_stop_gone(
    clock: MockClock,
) -> None:
    async with running(Behaviour(ready_after_s=3), spec()) as run:
        await trio.sleep(5)
        run.control.request_stop(10)
        await run.finished.wait()

    assert run.reports == [
        Spawned("owl", 7, run.process.pid),
        Ready("owl", 7),
        Gone("owl", 7, Ending(EndingKind.STOPPED, signal=15, message="stopped: killed by SIGTERM")),
    ]
    assert run.process.gone


async def test_given_no_check_endpoint_when_the_process_runs_then_it_is_ready_without_a_probe(
    clock: MockClock,
) -> None:
    async with running(Behaviour(ready_after_s=None), spec(check=False)) as run:
        await wait_all_tasks_blocked()

        assert run.kinds == [Spawned, Ready]
        assert run.time_of(Ready) == 0
        assert run.prober.probes == []


@pytest.mark.parametrize("until_ready", [REFUSED, LOADING], ids=["refused", "503"])
@pytest.mark.parametrize("ready_after_s", [0.02, 0.2, 0.7, 1.5, 7])
async def test_given_a_silent_server_when_it_is_ready_then_it_is_noticed_at_once(
    clock: MockClock, ready_after_s: float, until_ready: ProbeResult
) -> None:
    async with running(Behaviour(ready_after_s=ready_after_s, until_ready=until_ready), spec()) as run:
        await trio.sleep(10)

        assert 0 <= run.time_of(Ready) - ready_after_s <= NOTICED_S


@pytest.mark.parametrize(
    ("until_ready", "shortest_s", "longest_s"),
    [(REFUSED, 0.01, 0.1), (LOADING, 0.025, 0.25)],
    ids=["refused", "503"],
)
async def test_given_a_long_load_then_probing_slows_down(
    clock: MockClock, until_ready: ProbeResult, shortest_s: float, longest_s: float
) -> None:
    async with running(Behaviour(ready_after_s=None, until_ready=until_ready), spec()) as run:
        await trio.sleep(30)
        times = [time for time, _ in run.prober.probes]

    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) == pytest.approx(shortest_s)
    assert gaps[-1] == pytest.approx(longest_s)
    assert max(gaps) == pytest.approx(longest_s)


async def test_given_slow_probing_when_the_process_writes_a_line_then_it_is_probed_at_once(
    clock: MockClock,
) -> None:
    async with running(Behaviour(ready_after_s=None, until_ready=LOADING), spec()) as run:
        await trio.sleep(30.1)
        run.process.become_ready()
        run.process.write(b"model loaded\n", stderr=True)
        await wait_all_tasks_blocked()
        await trio.sleep(NOTICED_S)

        assert run.time_of(Ready) - 30.1 <= NOTICED_S
        assert run.output == [(b"model loaded\n", True)]


async def test_given_a_server_that_logs_our_probes_then_its_log_does_not_cause_more_of_them(
    clock: MockClock,
) -> None:
    async with running(Behaviour(ready_after_s=None, until_ready=LOADING), spec()) as run:
        await trio.sleep(30)
        before = len(run.prober.probes)
        for _ in range(100):
            run.process.write(b'127.0.0.1 "GET /health HTTP/1.1" 503\n')
            await trio.sleep(0.01)

        assert len(run.prober.probes) - before <= 5


async def test_given_a_ready_hint_when_an_unfinished_line_matches_then_it_is_probed_at_once(
    clock: MockClock,
) -> None:
    async with running(
        Behaviour(ready_after_s=None, until_ready=LOADING), spec(ready_hint="up and r.nning")
    ) as run:
        await trio.sleep(30.1)
        run.process.become_ready()
        run.process.write(b"up and ")
        run.process.write(b"running")
        await trio.sleep(NOTICED_S)

        assert run.time_of(Ready) - 30.1 <= NOTICED_S


# -- not becoming ready


async def test_given_a_command_that_cannot_run_then_only_gone_is_reported(clock: MockClock) -> None:
    async with running(Behaviour(launch_error="cannot run serve: No such file or directory"), spec()) as run:
        await run.finished.wait()

    message = "cannot run serve: No such file or directory"
    assert run.reports == [Gone("owl", 7, Ending(EndingKind.SPAWN_FAILED, message=message))]


async def test_given_a_command_that_exits_with_0_then_it_fails_at_once_and_says_so(clock: MockClock) -> None:
    behaviour = Behaviour(
        ready_after_s=None, exit_after_s=1, exit_status=ExitStatus(code=0), stderr="bye\\x07"
    )
    async with running(behaviour, spec()) as run:
        await run.finished.wait()

    assert run.kinds == [Spawned, Gone]
    assert run.time_of(Gone) == 1
    assert run.ending == Ending(
        EndingKind.EXITED,
        code=0,
        message="upstream command exited prematurely: exit status 0 "
        "(it must stay in the foreground as long as it serves)\nbye\\x07",
    )
    assert run.process.gone


async def test_given_a_kill_from_outside_then_the_cause_may_be_memory(clock: MockClock) -> None:
    behaviour = Behaviour(ready_after_s=None, exit_after_s=1, exit_status=ExitStatus(signal=9))
    async with running(behaviour, spec()) as run:
        await run.finished.wait()

    assert run.ending.message == (
        "upstream command exited prematurely: killed by SIGKILL, possibly out of memory"
    )


@pytest.mark.parametrize(
    ("until_ready", "detail"), [(REFUSED, "connection refused"), (LOADING, "status 503"), (HUNG, "no answer")]
)
async def test_given_a_server_that_is_never_ready_then_it_times_out_and_is_torn_down(
    clock: MockClock, until_ready: ProbeResult, detail: str
) -> None:
    behaviour = Behaviour(ready_after_s=None, until_ready=until_ready, term_s=None, stderr="loading…")
    async with running(behaviour, spec(limit_s=15)) as run:
        await run.finished.wait()

    assert run.kinds == [Spawned, StartTimedOut, Gone]
    assert run.time_of(StartTimedOut) == pytest.approx(15)
    timed_out = run.reports[1]
    assert isinstance(timed_out, StartTimedOut)
    assert timed_out.message == f"health check timed out after 15s (last probe: {detail})\nloading…"
    assert [name for name, _ in run.signals] == ["SIGTERM", "SIGKILL"]
    assert run.time_of(Gone) == pytest.approx(20)
    assert run.ending.kind is EndingKind.STOPPED


async def test_given_a_stranger_on_the_port_when_the_process_has_ended_then_it_is_not_ready(
    clock: MockClock,
) -> None:
    class StrangersAnswer(FakeProber):
        async def probe(self, url: str, timeout_s: float) -> ProbeResult:
            run.process.exit(ExitStatus(code=98))
            return READY

    launcher = FakeLauncher(Behaviour(ready_after_s=None))
    run = Run(launcher)
    run.prober = StrangersAnswer(launcher)
    await run.go(spec())

    assert run.kinds == [Spawned, Gone]
    assert run.ending.code == 98


# -- ending by itself


async def test_given_a_ready_process_when_it_crashes_then_that_is_told_at_once_and_how_when_its_tree_is_gone(
    clock: MockClock,
) -> None:
    async with running(Behaviour(stderr="CUDA error", cleanup_s=0.5), spec()) as run:
        await trio.sleep(10)
        run.process.exit(ExitStatus(signal=11))
        await run.finished.wait()

    assert run.kinds == [Spawned, Ready, Exited, Gone]
    assert (run.time_of(Exited), run.time_of(Gone)) == (10, 10.5)
    assert run.ending == Ending(
        EndingKind.EXITED, signal=11, message="upstream command exited: killed by SIGSEGV\nCUDA error"
    )
    assert run.signals == []


# -- being stopped


async def test_given_a_starting_process_when_stopped_then_probing_ends_and_the_grace_is_short(
    clock: MockClock,
) -> None:
    async with running(Behaviour(ready_after_s=None, until_ready=HUNG, term_s=None), spec()) as run:
        await trio.sleep(1)
        run.control.request_stop(60)
        await run.finished.wait()

    assert run.kinds == [Spawned, Gone]
    assert run.signals == [("SIGTERM", 1), ("SIGKILL", 6)]
    assert run.ending.kind is EndingKind.STOPPED
    assert len(run.prober.probes) == 1


async def test_given_a_slow_spawn_when_stopped_then_nothing_is_started(clock: MockClock) -> None:
    async with running(Behaviour(spawn_s=30), spec()) as run:
        await trio.sleep(1)
        run.control.request_stop(10)
        await run.finished.wait()

    assert run.kinds == [Gone]
    assert run.time_of(Gone) == 1
    assert run.ending.kind is EndingKind.STOPPED
    assert run.launcher.processes == []


async def test_given_a_stop_before_the_beginning_then_nothing_is_started(clock: MockClock) -> None:
    run = Run(FakeLauncher())
    run.control.request_stop(10)
    await run.go(spec())

    assert run.kinds == [Gone]
    assert run.launcher.launched == []


@pytest.mark.parametrize(
    ("term_s", "signals", "gone"),
    [
        (6.0, [("SIGTERM", 1)], 7),
        (None, [("SIGTERM", 1), ("SIGKILL", 11)], 11),
    ],
    ids=["takes its time", "ignores SIGTERM"],
)
async def test_given_a_ready_process_when_stopped_then_it_gets_exactly_the_grace(
    clock: MockClock, term_s: float | None, signals: list[tuple[str, float]], gone: float
) -> None:
    async with running(Behaviour(term_s=term_s), spec()) as run:
        await trio.sleep(1)
        run.control.request_stop(10)
        await run.finished.wait()

    assert run.signals == signals
    assert run.time_of(Gone) == gone


async def test_given_a_stop_in_progress_when_stopped_again_then_the_nearer_deadline_counts(
    clock: MockClock,
) -> None:
    async with running(Behaviour(term_s=None), spec()) as run:
        await trio.sleep(1)
        run.control.request_stop(10)
        await trio.sleep(1)
        run.control.request_stop(100)
        run.control.request_stop(3)
        await run.finished.wait()

    assert run.signals == [("SIGTERM", 1), ("SIGKILL", 5)]
    assert run.kinds == [Spawned, Ready, Gone]


async def test_given_a_ready_process_when_killed_then_it_is_gone_at_once(clock: MockClock) -> None:
    async with running(Behaviour(term_s=None), spec()) as run:
        await trio.sleep(1)
        run.control.kill()
        await run.finished.wait()

    assert run.signals == [("SIGKILL", 1)]
    assert run.time_of(Gone) == 1
    assert run.ending.kind is EndingKind.STOPPED


async def test_given_a_process_stuck_in_the_kernel_then_the_stop_waits_and_says_so(clock: MockClock) -> None:
    async with running(Behaviour(term_s=None, kill_s=None), spec()) as run:
        await trio.sleep(1)
        run.control.request_stop(2)
        await trio.sleep(11.9)
        stuck_before = run.control.stuck
        await trio.sleep(0.2)
        stuck_after = run.control.stuck
        await trio.sleep(100)
        assert Gone not in run.kinds
        run.process.exit(ExitStatus(signal=9))
        await run.finished.wait()

    assert (stuck_before, stuck_after, run.control.stuck) == (False, True, False)
    assert run.kinds == [Spawned, Ready, StopStuck, Gone]
    assert run.time_of(StopStuck) == pytest.approx(13, abs=1)
    assert run.ending.kind is EndingKind.STOPPED


# -- being cancelled


async def test_given_a_ready_process_when_cancelled_then_it_gets_one_second(clock: MockClock) -> None:
    async with running(Behaviour(term_s=None), spec()) as run:
        await trio.sleep(1)
        run.scope.cancel()
        await run.finished.wait()

    assert run.signals == [("SIGTERM", 1), ("SIGKILL", 2)]
    assert run.ending.kind is EndingKind.STOPPED
    assert run.process.gone


async def test_given_a_long_stop_when_cancelled_then_one_second_is_left(clock: MockClock) -> None:
    async with running(Behaviour(term_s=None), spec()) as run:
        await trio.sleep(1)
        run.control.request_stop(100)
        await trio.sleep(10)
        run.scope.cancel()
        await run.finished.wait()

    assert run.signals == [("SIGTERM", 1), ("SIGKILL", 12)]
    assert run.kinds == [Spawned, Ready, Gone]


async def test_given_a_spawn_in_progress_when_cancelled_then_nothing_is_started(clock: MockClock) -> None:
    async with running(Behaviour(spawn_s=30), spec()) as run:
        await trio.sleep(1)
        run.scope.cancel()
        await run.finished.wait()

    assert run.kinds == [Gone]
    assert run.launcher.processes == []


async def test_given_a_cancellation_at_the_moment_of_the_spawn_then_the_process_is_not_lost(
    clock: MockClock,
) -> None:
    class CancelledAsItStarts(FakeLauncher):
        async def launch(self, spec: LaunchSpec, output: Callable[[bytes, bool], None]) -> FakeProcess:
            process = await super().launch(spec, output)
            run.scope.cancel()
            return process

    run = Run(CancelledAsItStarts(Behaviour(term_s=None)))
    await run.go(spec())

    assert run.process.gone
    assert run.kinds == [Gone]
    assert run.ending.kind is EndingKind.STOPPED


async def test_given_a_fault_in_the_prober_then_the_process_is_ended_all_the_same(clock: MockClock) -> None:
    class Broken(FakeProber):
        async def probe(self, url: str, timeout_s: float) -> ProbeResult:
            raise RuntimeError("a bug")

    launcher = FakeLauncher()
    run = Run(launcher)
    run.prober = Broken(launcher)
    with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
        await run.go(spec())

    assert run.process.gone
    assert run.kinds == [Spawned, Gone]


# -- signs of life -----------------------------------------------------------------------------------------


def checked(*, detached: bool = False) -> InstanceSpec:
    launch = LaunchSpec(model="owl", gen=7, argv=("serve",), base_url=URL, detached=detached)
    return InstanceSpec(
        launch, check_url=f"{URL}/health", health_timeout_s=60, liveness=Liveness(interval_s=2, failures=3)
    )


async def test_given_failing_checks_in_a_row_then_it_is_reported_and_torn_down(clock: MockClock) -> None:
    async with running(Behaviour(term_s=None, stderr="cuda error"), checked()) as run:
        await trio.sleep(1)
        run.process.fall_silent()
        await run.finished.wait()

    assert run.kinds == [Spawned, Ready, Unresponsive, Gone]
    assert run.time_of(Unresponsive) == 6
    assert run.signals == [("SIGTERM", 6), ("SIGKILL", 11)]
    [report] = [each for each in run.reports if isinstance(each, Unresponsive)]
    assert report.message.splitlines() == [
        "no sign of life: 3 health checks failed in a row (the last: connection refused)",
        "cuda error",
    ]


async def test_given_a_good_check_or_a_response_in_between_then_the_count_begins_anew(
    clock: MockClock,
) -> None:
    async with running(Behaviour(), checked()) as run:
        await trio.sleep(1)
        run.process.fall_silent()
        await trio.sleep(4)
        run.process.become_ready()  # in time for the check at 6 s
        await trio.sleep(2)
        run.process.fall_silent()
        await trio.sleep(4)  # two bad ones, at 8 and 10 s
        run.control.activity.chunks += 1  # seen at 12 s
        await trio.sleep(6.5)
        assert Unresponsive not in run.kinds
        await trio.sleep(1)
        assert run.time_of(Unresponsive) == 18


async def test_given_a_stop_or_an_exit_among_the_failing_checks_then_that_counts(clock: MockClock) -> None:
    async with running(Behaviour(), checked()) as stopped:
        await trio.sleep(1)
        stopped.process.fall_silent()
        await trio.sleep(4)
        stopped.control.request_stop(1)
        await stopped.finished.wait()
    async with running(Behaviour(), checked()) as crashed:
        await trio.sleep(1)
        crashed.process.fall_silent()
        await trio.sleep(4)
        crashed.process.exit()
        await crashed.finished.wait()

    assert stopped.kinds == [Spawned, Ready, Gone]
    assert crashed.kinds == [Spawned, Ready, Exited, Gone]
    assert (stopped.ending.kind, crashed.ending.kind) == (EndingKind.STOPPED, EndingKind.EXITED)
