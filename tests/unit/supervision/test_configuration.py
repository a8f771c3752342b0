"""The configuration in force: who gets which answer, and what is never applied.

Files are real, time is virtual.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from swapd.config import Config, Sources, load
from swapd.supervision.configuration import (
    CannotApply,
    Changes,
    ConfigState,
    ConfigStatus,
    ConfigurationInForce,
    Trigger,
)


class Files:
    """The sources of a test, and what became of them: the values of `globalTTL` that were applied."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "c.yaml"
        self.applied: list[int] = []
        self.reports: list[ConfigStatus] = []
        self.before_load: list[Callable[[], None]] = []
        self._reported = trio.Event()
        self._stamp = 1_700_000_000

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self._stamp += 1
        os.utime(self.path, (self._stamp, self._stamp))

    def ports_in_use(self) -> dict[str, int]:
        """Called right before each load: the place to change a file in between."""
        if self.before_load:
            self.before_load.pop(0)()
        return {}

    async def apply(self, config: Config) -> Changes | None:
        self.applied.append(config.global_ttl_s)
        return Changes()

    def report(self, status: ConfigStatus) -> None:
        self.reports.append(status)
        self._reported.set()

    async def reported(self, count: int) -> ConfigStatus:
        """Wait until there are so many reports; the last of them."""
        while len(self.reports) < count:
            await self._reported.wait()
            self._reported = trio.Event()
        return self.reports[count - 1]

    def in_force(self, text: str, *beside: Path) -> ConfigurationInForce:
        self.write(text)
        sources = Sources((self.path,))
        return ConfigurationInForce(
            sources,
            load(sources, environ={}),
            environ={},
            ports_in_use=self.ports_in_use,
            beside=beside,
            now=lambda: 5.0,
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def running(files: Files, text: str, *beside: Path) -> AsyncIterator[ConfigurationInForce]:
    in_force = files.in_force(text, *beside)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_force.run, files.apply, files.report)
        yield in_force
        nursery.cancel_scope.cancel()


def test_a_daemon_does_not_start_with_a_broken_configuration(files: Files) -> None:
    with pytest.raises(ValueError, match="valid"):
        files.in_force("globalTTL: soon")


async def test_a_reload_by_hand_is_applied_and_answered(files: Files) -> None:
    async with running(files, "globalTTL: 1") as in_force:
        files.write("globalTTL: 2")

        status = await in_force.reload(Trigger.API)

        assert files.applied == [2]
        assert (status.state, status.generation, status.trigger) == (ConfigState.OK, 2, Trigger.API)
        assert in_force.current.global_ttl_s == 2
        assert files.reports == [status]


async def test_a_rejected_configuration_changes_nothing_and_says_why(files: Files) -> None:
    async with running(files, "globalTTL: 1") as in_force:
        files.write("globalTTL: soon\nlogLevel: [a]\n")

        status = await in_force.reload(Trigger.SIGNAL)

        assert files.applied == []
        assert (status.state, status.generation) == (ConfigState.REJECTED, 1)
        assert in_force.current.global_ttl_s == 1
        assert "c.yaml:1:12: error[type] globalTTL" in status.message
        assert [problem.key_path for problem in status.problems] == ["globalTTL", "logLevel"]


async def test_a_configuration_that_cannot_be_applied_is_rejected(files: Files) -> None:
    async def refuse(config: Config) -> Changes | None:
        raise CannotApply("the store is locked")

    in_force = files.in_force("globalTTL: 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_force.run, refuse, files.report)
        files.write("globalTTL: 2")

        status = await in_force.reload(Trigger.API)

        assert (status.state, status.message) == (ConfigState.REJECTED, "the store is locked")
        assert in_force.current.global_ttl_s == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("trigger", [Trigger.SIGNAL, Trigger.API])
async def test_a_file_that_has_become_empty_is_not_taken(files: Files, trigger: Trigger) -> None:
    async with running(files, "globalTTL: 1") as in_force:
        files.write("")
        status = await in_force.reload(trigger)

        assert (status.state, in_force.current.global_ttl_s) == (ConfigState.REJECTED, 1)
        assert "c.yaml is empty" in status.message
        assert "`models: {}`" in status.message

        files.write("models: {}")
        status = await in_force.reload(trigger)
        assert status.state is ConfigState.OK


async def test_a_file_that_was_always_empty_is_taken(files: Files) -> None:
    async with running(files, "") as in_force:
        assert (await in_force.reload(Trigger.SIGNAL)).state is ConfigState.OK


async def test_what_is_asked_for_during_a_reload_causes_exactly_one_more(files: Files) -> None:
    async with running(files, "globalTTL: 1") as in_force:
        # Given three requests and an edit that come while a reload is reading
        events: list[trio.Event] = []

        def meanwhile() -> None:
            events.extend(
                in_force.request(trigger) for trigger in (Trigger.API, Trigger.SIGNAL, Trigger.WATCH)
            )

        files.before_load = [meanwhile, lambda: files.write("globalTTL: 3")]
        files.write("globalTTL: 2")
        await in_force.reload(Trigger.API)

        # When they are done
        for event in events:
            await event.wait()

        # Then there was one more reload, with the last state, under the name of the last person who asked
        assert files.applied == [2, 3]
        assert len(files.reports) == 2
        assert files.reports[1].trigger is Trigger.SIGNAL


async def test_the_watcher_applies_only_what_stood_still(files: Files, autojump_clock: MockClock) -> None:
    async with running(files, "globalTTL: 1") as in_force, trio.open_nursery() as nursery:
        # Given a file that is being written again when the reload begins to read it
        files.write("globalTTL: 2")
        files.before_load = [
            lambda: files.write("globalTTL: 30"),
            lambda: files.write("globalTTL: 300"),
            lambda: files.write("globalTTL: 3000"),
        ]

        # When the watcher looks
        nursery.start_soon(in_force.watch, 2.0, pytest.fail)
        await files.reported(1)

        # Then nothing that stood there for a moment only was applied
        assert files.applied == [3000]
        nursery.cancel_scope.cancel()


async def test_a_reload_by_hand_takes_the_file_as_it_stands(files: Files) -> None:
    async with running(files, "globalTTL: 1") as in_force:
        files.before_load = [lambda: files.write("globalTTL: 20")]

        await in_force.reload(Trigger.SIGNAL)

        assert files.applied == [20]


async def test_a_key_file_that_changes_reloads(
    files: Files, tmp_path: Path, autojump_clock: MockClock
) -> None:
    # Given a key in a file of its own
    key = tmp_path / "key"
    key.write_text("one")
    async with running(files, f"apiKeys: [{{keyFile: {key}}}]") as in_force, trio.open_nursery() as nursery:
        nursery.start_soon(in_force.watch, 2.0, pytest.fail)
        await trio.sleep(10)
        assert files.reports == []

        # When another key is put there
        key.write_text("another")
        await files.reported(1)

        # Then that is in force
        assert [each.key for each in in_force.current.api_keys] == ["another"]

        # And a key file that is gone is an error until it is back
        key.unlink()
        assert "api-key-file" in (await files.reported(2)).message
        key.write_text("third")
        await files.reported(3)
        assert [each.key for each in in_force.current.api_keys] == ["third"]
        nursery.cancel_scope.cancel()


async def test_a_certificate_that_is_renewed_reloads(
    files: Files, tmp_path: Path, autojump_clock: MockClock
) -> None:
    certificate = tmp_path / "tls.pem"
    certificate.write_text("old")
    async with running(files, "globalTTL: 1", certificate) as in_force, trio.open_nursery() as nursery:
        nursery.start_soon(in_force.watch, 2.0, pytest.fail)
        await trio.sleep(10)
        assert files.reports == []

        certificate.write_text("new")
        assert (await files.reported(1)).state is ConfigState.OK

        certificate.write_text("newer")  # and again, after a reload
        await files.reported(2)
        nursery.cancel_scope.cancel()
