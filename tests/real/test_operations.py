"""What an operator relies on, O1 to O17, each as a test of whole daemons; where it stands, if not here."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.conformance.server.support import Client
from tests.documents import ROOT
from tests.real.daemons import PATIENCE_S, files, load, open_stream
from tests.setups import config

pytestmark = pytest.mark.real

ELSEWHERE = {
    "O2: a stop whose deadline cuts requests exits 0": (
        "real/test_daemon_stop.py",
        "test_given_a_client_that_does_not_read_when_told_to_stop_then_it_ends_with_the_drain_time",
    ),
    "O3: a second signal exits 1 within a second": (
        "real/test_daemon_stop.py",
        "test_given_a_stop_in_progress_when_told_again_then_it_exits_1_within_a_second",
    ),
    "O4: SIGKILL leaves no process of any model, forked or stubborn": (
        "real/test_daemon_killed.py",
        "test_given_a_stream_when_the_daemon_is_killed_then_nothing_of_it_is_left",
    ),
    "O5: a restart copes with leftovers": (
        "real/test_daemon_restart.py",
        "test_given_that_the_guardian_is_killed_too_then_the_next_start_ends_what_is_left",
    ),
    "O6: a reload that changes one of five running models leaves four and a stream alone": (
        "real/test_daemon_reload.py",
        "test_given_five_running_models_when_one_changes_then_four_pids_and_an_open_stream_stay",
    ),
    "O7: a half-written configuration is never applied": (
        "real/test_config_watch.py",
        "test_a_half_written_file_is_not_applied",
    ),
    "O8: an invalid configuration changes nothing": (
        "real/test_config_watch.py",
        "test_a_broken_file_changes_nothing_and_the_log_says_why",
    ),
    "O9: the messages of notify, reload and watchdog": (
        "real/test_daemon_supervised.py",
        "test_given_a_notify_socket_then_it_hears_the_right_words_in_the_right_order",
    ),
    "O10: sockets passed by descriptor": (
        "real/test_daemon_supervised.py",
        "test_given_a_passed_socket_then_a_client_that_was_there_first_is_served",
    ),
    "O11: PID 1 of a namespace reaps": (
        "real/test_daemon_stop.py",
        "test_given_a_daemon_that_is_pid_1_then_it_reaps_what_it_is_given_and_stops_in_order",
    ),
    "O15: a driver of a GPU that is missing, hangs or fails": (
        "unit/observe/sampling/test_probe.py",
        "test_given_a_driver_that_hangs_then_it_is_left_alone_until_it_comes_back",
    ),
}


@pytest.mark.parametrize("promise", ELSEWHERE)
def test_a_promise_that_is_kept_elsewhere_has_its_test_there(promise: str) -> None:
    file, test = ELSEWHERE[promise]
    assert f"def {test}(" in (ROOT / "tests" / file).read_text()


async def test_o1_given_three_streams_when_told_to_stop_then_all_are_drained_and_it_exits_0(
    daemon: StartDaemon,
) -> None:
    # Given three streams that have begun
    running = await daemon(config({"owl": upstream_command("--hold", "--hold-after", "1")}))
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(open_stream(running, "owl")) for _ in range(3)]
        owl = await stack.enter_async_context(running.upstream("owl"))
        # When it is told to stop, and only then the model goes on
        running.signal(signal.SIGTERM)
        await running.printed("SIGTERM: stopping")
        await owl.release(3)
        # Then each comes to its end
        for reader in readers:
            assert (await _rest(reader)).endswith(b"data: [DONE]\n\n")
    assert await running.exited() == 0


async def _rest(reader: Client) -> bytes:
    rest = b""
    with trio.fail_after(PATIENCE_S):
        while chunk := await reader.chunk():
            rest += chunk
    return rest


@contextlib.asynccontextmanager
async def with_store(directory: Path, store: Path, *through: str) -> AsyncIterator[Daemon]:
    """A daemon that keeps its rows there; `through` is a command that runs its command."""
    text = config({"owl": upstream_command()}, store={"path": str(store)})
    async with run_daemon(text, directory, through=through) as running:
        yield running


async def _rows(running: Daemon) -> int:
    """How many rows of activity there are to see."""
    async with running.client() as client:
        answer = await client.get("/api/metrics/activity")
        assert answer.status_code == 200, answer.text
        return len(answer.json()["data"])


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit (Debian: util-linux)")
async def test_o12_given_a_disk_that_is_full_then_requests_are_served_and_rows_are_seen(
    tmp_path: Path,
) -> None:
    # Given a daemon that can write no file beyond some kilobytes: what a full disk looks like to SQLite
    async with with_store(tmp_path, tmp_path / "activity.db", "prlimit", "--fsize=60000") as running:
        # When more happens than fits
        for _ in range(40):
            await load(running, "owl", "owl", "owl", "owl", "owl")
        # Then all of it is served, and to be seen; and it is said once what is wrong
        assert await _rows(running) > 0
        await running.printed("(?i)activity.*(full|disk|memory)")
        assert await running.stop() == 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (Debian: util-linux)")
async def test_o13_given_a_store_that_cannot_be_written_then_it_is_kept_in_memory(tmp_path: Path) -> None:
    # Given a place in which nobody can make a file, root included
    async with with_store(tmp_path, Path("/proc/activity.db")) as running:
        # When
        await load(running, "owl")
        # Then
        assert await _rows(running) == 1
        await running.printed("kept in memory")
        assert await running.stop() == 0


async def test_o14_given_a_store_that_is_damaged_then_it_is_moved_aside_and_a_new_one_begun(
    tmp_path: Path,
) -> None:
    store = tmp_path / "activity.db"
    store.write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)
    async with with_store(tmp_path, store) as running:
        await load(running, "owl")
        assert await _rows(running) == 1
        await running.printed("damaged")
        assert await running.stop() == 0
    assert [name for name in files(tmp_path) if name.startswith("activity.db.corrupt-")]
    with contextlib.closing(sqlite3.connect(store)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


STREAMS = 200
WATCHERS = 10


async def test_o17_given_200_streams_ten_watchers_and_a_flood_of_output_then_others_are_answered_in_between(
    daemon: StartDaemon,
) -> None:
    # Given a model that streams, and one that floods its log
    side_by_side = {"members": ["owl", "wren"], "swap": False, "exclusive": False}
    running = await daemon(
        config(
            {
                "owl": {
                    "cmd": upstream_command("--tokens", "40", "--tps", "20"),
                    "concurrencyLimit": STREAMS,
                },
                "wren": upstream_command("--flood", "2000"),
            },
            groups={"birds": side_by_side},
        )
    )
    await load(running, "owl", "wren")
    answered = 0

    async def ask() -> None:
        nonlocal answered
        async with running.client(timeout_s=PATIENCE_S) as client:
            while True:
                assert (await client.get("/health")).status_code == 200
                answered += 1

    # When all of that happens at a time, from a process of its own
    with trio.fail_after(2 * PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            crowd = await trio.run_process(
                [sys.executable, "-m", "tests.real.stream_load", running.url, str(STREAMS), str(WATCHERS)],
                cwd=ROOT,
                capture_stdout=True,
            )
            nursery.cancel_scope.cancel()
    # Then every stream was whole, and others were answered in between
    assert crowd.stdout == b"%d\n" % STREAMS
    assert answered > STREAMS
