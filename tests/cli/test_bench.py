"""`swapd bench`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import run_daemon, upstream_command
from tests.cli.support import LIMIT_S, environment, golden, on_terminal, piped, uncoloured
from tests.setups import config

pytestmark = pytest.mark.real

TIMES = r"(?:\d+ms|—)"
TABLE = golden(
    "MODEL REQUESTS ERRORS TTFT P50 P95 TOTAL P50 P95 MAX TOKENS/S ALL STARTS LOAD P50\n"
    "owl 2 0 {time} {time} {time} {time} {time} {speed} {speed} {starts} {time}\n"
    "wren 2 0 {time} {time} {time} {time} {time} {speed} {speed} {starts} {time}\n"
    "total 4 0 {time} {time} {time} {time} {time} {speed} {speed} {starts} {time}\n"
    "4 requests in {time}, 1 at once\n",
    time=TIMES,
    speed=r"[\d.]+",
    starts=r"\d+",
)
ARGV = ("bench", "--model=owl", "--model", "wren", "--requests", "4", "--max-tokens", "5")


async def test_given_two_models_when_asked_in_turn_then_terminal_and_pipe_show_times_and_swaps(
    tmp_path: Path,
) -> None:
    text = config({"owl": upstream_command("--tokens", "5"), "wren": upstream_command("--tokens", "5")})
    async with run_daemon(text, tmp_path) as running:
        done = await piped(running, *ARGV)
        assert (done.code, done.err) == (0, "")
        assert TABLE.fullmatch(done.out), done.out
        seen = await on_terminal(running, *ARGV)
        assert seen.code == 0
        assert TABLE.search(uncoloured(seen.out)), seen.out

        # In JSON, with every swap counted: each model makes room for the other
        document = json.loads((await piped(running, *ARGV, "--json")).out)
        assert [model["model"] for model in document["models"]] == ["owl", "wren"]
        assert (document["total"]["starts"], document["total"]["tokens"]) == (4, 20)
        assert document["total"]["load_s"]["max"] > 0
        assert document["failed"] == []

        # All of one model, then all of the next, costs half the swaps
        argv = (*ARGV, "--swap-pattern=sequential", "--json")
        assert json.loads((await piped(running, *argv)).out)["total"]["starts"] == 2
        assert (await piped(running, *ARGV, "--md")).out.startswith("| model | requests |")


@pytest.mark.parametrize("endpoint", ["chat", "completions", "messages", "responses", "embeddings"])
async def test_given_an_api_when_asked_many_at_once_then_all_are_answered(
    endpoint: str, tmp_path: Path
) -> None:
    async with run_daemon(config({"owl": upstream_command("--tokens", "5")}), tmp_path) as running:
        argv = ("bench", "--model=owl", f"--endpoint={endpoint}", "--concurrency=4", "--requests=12")
        for more in ((), ("--no-stream",)):
            done = await piped(running, *argv, *more, "--json", "--warmup=1")
            total = json.loads(done.out)["total"]
            assert (done.code, total["requests"], total["errors"]) == (0, 12, {}), done
            streamed = endpoint != "embeddings" and not more
            assert (total["ttft_s"] is not None) is streamed
            assert total["tokens"] == (0 if endpoint == "embeddings" else 60)


async def test_given_errors_and_bounds_when_asked_then_the_exit_code_tells(tmp_path: Path) -> None:
    text = config({"owl": upstream_command("--status", "500"), "wren": upstream_command()})
    async with run_daemon(text, tmp_path) as running:
        done = await piped(running, "bench", "--model=owl", "--requests=3")
        assert (done.code, done.err) == (1, "swapd: 3 × status 500\n")

        argv = ("bench", "--model=wren", "--requests=3")
        assert (await piped(running, *argv, "--assert=errors==0", "--assert", "max_total<1m")).code == 0
        done = await piped(running, *argv, "--assert", "requests>3", "--json")
        assert (done.code, json.loads(done.out)["failed"]) == (1, ["requests>3: it was 3"])

        # What was not meant is not begun
        assert (await piped(running, *argv, "--assert=p95<2")).code == 2
        assert (await piped(running, "bench", "--model=owll")).code == 1
        refused = await piped(None, *argv, SWAPD_URL="http://192.0.2.1:8080")
        assert (refused.code, "--url http://192.0.2.1:8080" in refused.err) == (2, True)


async def test_given_no_model_that_is_ready_when_none_is_named_then_none_is_started(tmp_path: Path) -> None:
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as running:
        done = await piped(running, "bench")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("swapd: cannot ask: no model is ready\nhint: name one with --model")


async def test_given_a_test_that_is_interrupted_when_it_ends_then_what_was_measured_is_reported(
    tmp_path: Path,
) -> None:
    text = config({"owl": upstream_command("--tokens", "5"), "wren": upstream_command("--load", "90s")})
    async with run_daemon(text, tmp_path) as running:
        # Given a test that has come to a model that takes long
        argv = ("bench", "--model=owl", "--model=wren", "--requests=2", "--json")
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-m", "swapd", *argv],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(running),
        )
        try:
            async with running.client() as client:
                with trio.fail_after(LIMIT_S):
                    while not _is_starting(await client.get("/running")):  # noqa: ASYNC110 - polled from outside
                        await trio.sleep(0.02)
            # When it is interrupted
            os.kill(process.pid, signal.SIGINT)
            out, _ = await trio.to_thread.run_sync(process.communicate)
        finally:
            process.kill()
            process.wait()
        # Then there is a report of the first
        document = json.loads(out)
        assert (process.returncode, document["interrupted"]) == (130, True)
        assert [(each["model"], each["requests"]) for each in document["models"]] == [("owl", 1)]


def _is_starting(response: object) -> bool:
    entries = response.json()["running"]  # type: ignore[attr-defined]
    return any(entry["model"] == "wren" and entry["state"] == "starting" for entry in entries)
