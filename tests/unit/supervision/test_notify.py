"""The words that the service manager hears, against a real datagram socket."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from swapd.supervision.notify import Notifier, watchdog_interval_s
from tests.unit.supervision.fake_manager import FakeManager, fake_manager

QUEUE_LENGTH = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
"""How many messages the kernel keeps for a reader that does not read."""


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeManager]:
    with fake_manager(tmp_path, abstract=request.param == "abstract") as running:
        yield running


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def notifier(manager: FakeManager, warnings: list[str]) -> Iterator[Notifier]:
    notifier = Notifier(manager.environ, warnings.append)
    yield notifier
    notifier.close()


def test_given_a_whole_life_then_the_words_come_in_order(
    manager: FakeManager, notifier: Notifier, warnings: list[str]
) -> None:
    notifier.ready("0 models ready")
    notifier.status("1 model ready")
    with notifier.reloading(lambda: "configuration rejected: 1 error"):
        pass
    notifier.watchdog()
    notifier.stopping("waiting for 3 requests")
    notifier.extend_timeout(15)

    heard = manager.heard()
    reload = heard.pop(2)
    assert heard == [
        ["READY=1", "STATUS=0 models ready"],
        ["STATUS=1 model ready"],
        ["READY=1", "STATUS=configuration rejected: 1 error"],
        ["WATCHDOG=1"],
        ["STOPPING=1", "STATUS=waiting for 3 requests"],
        ["EXTEND_TIMEOUT_USEC=15000000"],
    ]
    assert reload[0] == "RELOADING=1"
    assert warnings == []


def test_given_a_reload_then_it_says_when_it_began_on_the_monotonic_clock(
    manager: FakeManager, notifier: Notifier
) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    with notifier.reloading(lambda: ""):
        [[_, stamp]] = manager.heard()

    name, _, microseconds = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_given_a_reload_that_fails_with_an_exception_then_ready_is_said_all_the_same(
    manager: FakeManager, notifier: Notifier
) -> None:
    with pytest.raises(RuntimeError), notifier.reloading(lambda: "the old configuration stays"):
        raise RuntimeError

    assert manager.heard()[-1] == ["READY=1", "STATUS=the old configuration stays"]


def test_given_a_status_said_twice_then_it_is_sent_once(manager: FakeManager, notifier: Notifier) -> None:
    notifier.status("1 model ready")
    notifier.status("1 model ready")

    assert manager.heard() == [["STATUS=1 model ready"]]


def test_given_a_status_of_several_lines_then_it_cannot_smuggle_in_another_word(
    manager: FakeManager, notifier: Notifier
) -> None:
    notifier.status("broken\nSTOPPING=1")

    assert manager.heard() == [["STATUS=broken STOPPING=1"]]


async def test_given_a_manager_that_does_not_read_then_messages_wait_and_arrive_in_order(
    manager: FakeManager, notifier: Notifier, warnings: list[str], clock: MockClock
) -> None:
    said = [f"STATUS={number}" for number in range(QUEUE_LENGTH + 20)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run)

        for line in said:
            notifier.status(line.removeprefix("STATUS="))  # does not block, though the socket is full
        heard = manager.heard()
        assert len(heard) < len(said)
        with trio.fail_after(10):
            while len(heard) < len(said):
                await trio.sleep(0.1)
                heard += manager.heard()
        nursery.cancel_scope.cancel()

    assert [line for message in heard for line in message] == said
    assert warnings == []


async def test_given_a_long_stop_then_the_patience_is_extended_every_five_seconds(
    manager: FakeManager, notifier: Notifier, clock: MockClock
) -> None:
    with trio.move_on_after(12):
        await notifier.keep_extending()

    assert manager.heard() == 3 * [["EXTEND_TIMEOUT_USEC=15000000"]]


def test_given_no_service_manager_then_nothing_is_sent(warnings: list[str]) -> None:
    notifier = Notifier({}, warnings.append)

    notifier.ready("")
    notifier.watchdog()
    notifier.close()

    assert not notifier.enabled
    assert warnings == []


@pytest.mark.parametrize("address", ["/nowhere/notify", "/" + 200 * "x", "@nobody-listens-here"])
def test_given_a_socket_that_does_not_work_then_the_daemon_goes_on_and_says_so_once(
    address: str, warnings: list[str]
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address}, warnings.append)

    notifier.ready("")
    notifier.stopping("")
    notifier.close()

    assert len(warnings) == 1
    assert "the service manager's socket cannot be reached" in warnings[0]


@pytest.mark.parametrize("address", ["vsock:2:1234", "@", "relative"])
def test_given_an_address_of_a_kind_we_do_not_know_then_nobody_listens(
    address: str, warnings: list[str]
) -> None:
    assert not Notifier({"NOTIFY_SOCKET": address}, warnings.append).enabled


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_given_the_environment_then_the_watchdogs_interval_for_this_process(
    environ: dict[str, str], interval_s: float | None
) -> None:
    assert watchdog_interval_s(environ) == interval_s
