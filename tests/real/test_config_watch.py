"""A real daemon with `--watch-config`: what an edit of its configuration does, and what it does not.

None of these tests measures time. "Nothing happens" is shown by what happens next: a later edit is applied,
and the log tells that nothing was in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swapd.testing.daemon import Daemon, run_swapd, upstream_command
from swapd.testing.ports import free_ports

pytestmark = pytest.mark.real


class Edited:
    """A daemon that watches its file, and the person who edits it."""

    def __init__(self, daemon: Daemon, path: Path, head: str) -> None:
        self.daemon = daemon
        self.path = path
        self.head = head

    def text(self, *models: str, more: str = "") -> str:
        lines = "".join(f"  {model}: {{cmd: '{upstream_command()}'}}\n" for model in models)
        return f"{self.head}{more}models:\n{lines}"

    def save(self, text: str) -> None:
        """As most editors do: a new file, renamed over the old one."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)

    async def models(self) -> list[str]:
        async with self.daemon.client() as client:
            return sorted(entry["id"] for entry in (await client.get("/v1/models")).json()["data"])

    async def applied(self, count: int) -> None:
        """Wait for the reload of that number."""
        await self.daemon.printed("(?s)" + ".*configuration applied" * count)

    @property
    def reloads(self) -> int:
        return self.daemon.output.count("configuration applied")


@asynccontextmanager
async def watching(directory: Path) -> AsyncIterator[Edited]:
    path = directory / "config.yaml"
    edited = Edited.__new__(Edited)
    head = f"startPort: {free_ports(20)}\n"
    edited.head = head
    path.write_text(edited.text("owl"))
    words = ("--config", str(path), "--listen", "127.0.0.1:0", "--watch-config", "--watch-interval", "0.2s")
    async with run_swapd(directory, *words) as daemon:
        edited.__init__(daemon, path, head)  # type: ignore[misc] # the daemon needs the text first
        yield edited


async def test_a_file_replaced_as_editors_do_is_applied(tmp_path: Path) -> None:
    async with watching(tmp_path) as edited:
        # Given a model that runs
        async with edited.daemon.client() as client:
            answer = await client.post("/v1/chat/completions", json={"model": "owl", "messages": []})
            assert answer.status_code == 200
            (before,) = (await client.get("/running")).json()["running"]

        # When the file is replaced by one with another model
        edited.save(edited.text("owl", "wren"))
        await edited.applied(1)

        # Then it is there, and the one that runs goes on running
        assert await edited.models() == ["owl", "wren"]
        async with edited.daemon.client() as client:
            (after,) = (await client.get("/running")).json()["running"]
        assert (after["model"], after["proxy"]) == (before["model"], before["proxy"])


async def test_of_two_quick_edits_the_last_wins(tmp_path: Path) -> None:
    async with watching(tmp_path) as edited:
        # Given two edits right after each other
        edited.save(edited.text("first"))
        edited.save(edited.text("last"))

        # Then the second is what is applied, at once or after the first
        await edited.applied(1)
        if await edited.models() != ["last"]:
            await edited.applied(2)
        assert await edited.models() == ["last"]


async def test_a_broken_file_changes_nothing_and_the_log_says_why(tmp_path: Path) -> None:
    async with watching(tmp_path) as edited:
        # Given a file with a mistake
        edited.save(edited.text("wren", more="globalTTL: soon\n"))

        # Then the log says where and what, the old configuration stays
        await edited.daemon.printed(r"config\.yaml:2:12: error\[type\] globalTTL")
        await edited.daemon.printed("rejected, the old one stays in force")
        assert await edited.models() == ["owl"]

        # And when it is mended, it is applied
        edited.save(edited.text("wren"))
        await edited.applied(1)
        assert await edited.models() == ["wren"]
        assert edited.daemon.output.count("rejected") == 1


async def test_a_half_written_file_is_not_applied(tmp_path: Path) -> None:
    async with watching(tmp_path) as edited:
        # Given somebody who pauses in the middle of the file
        text = edited.text("owl", "wren", "finch")
        half = text.index("finch: {cmd: '") + len("finch: {cmd: '")
        edited.path.write_text(text[:half])
        await edited.daemon.printed("rejected, the old one stays in force")
        assert await edited.models() == ["owl"]

        # When the rest is written, then the whole of it is applied
        edited.path.write_text(text)
        await edited.applied(1)
        assert await edited.models() == ["finch", "owl", "wren"]
        assert edited.reloads == 1


async def test_a_touch_and_an_emptied_file_change_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path) as edited:
        # Given a file that is touched, written with the same bytes, emptied, and removed
        text = edited.path.read_text()
        edited.path.touch()
        edited.save(text)
        edited.path.write_text("")
        edited.path.unlink()

        # When it is there again with something new
        edited.save(edited.text("wren"))

        # Then that is the one change there was
        await edited.applied(1)
        assert await edited.models() == ["wren"]
        assert edited.reloads == 1
        assert "rejected" not in edited.daemon.output


async def test_a_file_that_comes_into_the_directory_is_applied(tmp_path: Path) -> None:
    # Given a daemon that watches a directory
    conf = tmp_path / "conf.d"
    conf.mkdir()
    (conf / "10.yaml").write_text(f"startPort: {free_ports(20)}\n")
    words = ("--config-dir", str(conf), "--listen", "127.0.0.1:0", "--watch-config", "--watch-interval=0.2s")
    async with run_swapd(tmp_path, *words) as daemon, daemon.client() as client:
        assert (await client.get("/v1/models")).json()["data"] == []

        # When a file is put there, beside an editor's leftovers
        (conf / "20.yaml~").write_text("models: [broken")
        (conf / "20.yaml").write_text(f"models: {{owl: {{cmd: '{upstream_command()}'}}}}\n")
        await daemon.printed("configuration applied")

        # Then its model can be used
        answer = await client.post("/v1/chat/completions", json={"model": "owl", "messages": []})
        assert answer.status_code == 200
