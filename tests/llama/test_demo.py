"""`swapd demo` as a newcomer meets it: start it, paste what it prints, press Ctrl-C."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from swapd.cli.demo import MODELS
from swapd.testing.daemon import Daemon, run_swapd
from swapd.testing.gguf import CHAT_TEXT
from swapd.testing.llama import wheel_problem
from tests.setups import events

pytestmark = pytest.mark.llama


@asynccontextmanager
async def demo(directory: Path, *flags: str) -> AsyncIterator[Daemon]:
    """A running demo; it must know how to end in order."""
    async with run_swapd(directory, "demo", *flags) as running:
        yield running
        # When Ctrl-C is pressed
        running.signal(signal.SIGINT)
        # Then it ends in order, and nothing is left
        assert await running.exited() == 0
        await running.all_gone()
        assert "Traceback" not in running.output


async def paste_all(running: Daemon) -> list[str]:
    """What the printed commands print, each pasted into a shell."""
    commands = re.findall(r"^  (curl .+)$", running.output, re.MULTILINE)
    assert len(commands) == 6
    return [await paste(command) for command in commands]


def assert_is_tiny_talk(text: str) -> None:
    """What a tiny model says with a temperature: its text, now and then without a word."""
    words = re.findall(r"\w+", text)
    assert len(words) > 5
    assert set(words) <= set(re.findall(r"\w+", CHAT_TEXT))


async def paste(command: str) -> str:
    done = await trio.run_process(["sh", "-c", command], capture_stdout=True, capture_stderr=True)
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_given_a_new_machine_when_every_printed_line_is_pasted_then_each_is_answered(
    tmp_path: Path,
) -> None:
    if problem := wheel_problem():
        pytest.skip(problem)
    # Given the demo, started without a word
    async with demo(tmp_path) as running:
        assert "Three tiny models, served by llama.cpp itself." in running.output
        # When the lines it prints are pasted one after the other
        owl, wren, stream, embedding, processes, models = await paste_all(running)
        # Then both chat models have answered
        for answer, name in ((owl, "owl"), (wren, "wren")):
            assert json.loads(answer)["model"] == name
            assert_is_tiny_talk(json.loads(answer)["choices"][0]["message"]["content"])
        # One also word by word
        *parts, end = events(stream)
        assert end == "[DONE]"
        words = [part["choices"][0]["delta"].get("content") or "" for part in parts if part["choices"]]
        assert len(words) > 5
        assert_is_tiny_talk("".join(words))
        # The third model has turned a text into numbers
        assert len(json.loads(embedding)["data"][0]["embedding"]) == 64
        # And each took the place of the one before
        assert [entry["model"] for entry in json.loads(processes)["running"]] == ["finch"]
        assert {model["id"] for model in json.loads(models)["data"]} == {model.id for model in MODELS}
        assert len(running.processes) == 1
        assert running.output.count("takes the place of") == 2


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_given_a_machine_without_llama_cpp_when_the_lines_are_pasted_then_a_fake_answers(
    tmp_path: Path,
) -> None:
    # Given the demo as it is where the wheel cannot run
    async with demo(tmp_path, "--fake", "--listen", "127.0.0.1:0") as running:
        # Then it says so
        assert "A fake server stands in for llama.cpp (--fake was given)." in running.output
        # When the lines it prints are pasted
        owl, wren, stream, embedding, processes, _ = await paste_all(running)
        # Then they are answered all the same
        assert json.loads(owl)["choices"][0]["message"]["content"].startswith("Hello from the fake")
        assert json.loads(wren)["model"] == "wren"
        assert events(stream)[-1] == "[DONE]"
        assert json.loads(embedding)["data"][0]["embedding"]
        assert [entry["model"] for entry in json.loads(processes)["running"]] == ["finch"]
