"""The commands about requests: `chat`, `activity`, `capture`, `cancel`, and `profile`."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from tests.cli.support import golden, on_terminal, piped, uncoloured
from tests.setups import chat, config

pytestmark = pytest.mark.real

SPEED = golden(
    "{n} tokens in {time}, {rate} tokens/s, the first after {time}\n",
    n=r"\d+",
    time=r"[\d.]+s",
    rate=r"[\d.]+",
)
ROW = "{id} {time} {model} /v1/chat/completions 200 {n} {n} {n} {rate} {duration}\n"
TITLES = "ID TIME MODEL PATH STATUS PROMPT CACHED OUTPUT TOKENS/S DURATION\n"
PATTERNS = {
    "id": r" *\d+",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
    "n": r"(?:\d+|—)",
    "rate": r"(?:[\d.]+|—)",
    "duration": r"[\d.]+s",
}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Daemon]:
    models = {"owl": upstream_command("--tokens", "5"), "wren": upstream_command("--tokens", "5")}
    profiles = {
        "day": {"description": "By day", "pins": {"bird": "owl"}},
        "night": {"pins": {"bird": "wren"}},
    }
    async with run_daemon(config(models, profiles=profiles), tmp_path) as running:
        yield running


async def asked(running: Daemon, *models: str) -> None:
    async with running.client(timeout_s=60) as client:
        for model in models:
            await client.post("/v1/chat/completions", json=chat(model))


async def test_given_a_prompt_when_chatting_then_the_answer_is_on_stdout_and_its_speed_beside(
    running: Daemon,
) -> None:
    done = await piped(running, "chat", "owl", "Who", "are", "you?")
    assert done.code == 0
    assert SPEED.fullmatch(done.err), done
    said = done.out

    seen = await on_terminal(running, "chat", "owl", "Who are you?")
    assert uncoloured(seen.out).startswith(said)
    assert SPEED.fullmatch(uncoloured(seen.out).removeprefix(said))

    from_pipe = await piped(running, "chat", "owl", "--quiet", stdin="Who are you?\n")
    assert (from_pipe.out, from_pipe.err) == (said, "")
    document = json.loads((await piped(running, "chat", "owl", "hi", "--json")).out)
    assert (document["model"], document["content"] + "\n") == ("owl", said)


async def test_given_what_cannot_be_answered_when_chatting_then_it_says_why(running: Daemon) -> None:
    done = await piped(running, "chat", "crow", "hi")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("swapd: cannot talk to crow: ")
    assert "hint: `swapd models` lists what there is\n" in done.err
    assert (await piped(running, "chat", "owl")).code == 2


async def test_given_past_requests_when_listed_then_terminal_and_pipe_show_the_same_table(
    running: Daemon,
) -> None:
    await asked(running, "owl", "wren", "crow")
    table = golden(TITLES + ROW.replace("{model}", "wren") + ROW.replace("{model}", "owl"), **PATTERNS)
    query = ("activity", "--status", "200")

    done = await piped(running, *query)
    assert table.fullmatch(done.out), done
    assert (done.code, done.err) == (0, "")
    assert table.fullmatch(uncoloured((await on_terminal(running, *query)).out))

    done = await piped(running, "activity", "-n", "1", "--model", "owl", "--model", "wren")
    assert done.out.count("\n") == 2
    assert done.err == "swapd: 1 of 2 requests; --limit shows more\n"
    page = json.loads((await piped(running, "activity", "--json", "--since", "1h")).out)
    assert [row["model"] for row in page["data"]][-2:] == ["wren", "owl"]
    assert (await piped(running, "activity", "--since", "yesterday")).code == 2


async def test_given_past_requests_when_exported_then_each_form_holds_all_of_them(running: Daemon) -> None:
    await asked(running, "owl", "wren", "owl")

    lines = (await piped(running, "activity", "--export", "jsonl")).out.splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["owl", "wren", "owl"]
    table = (await piped(running, "activity", "--export", "csv", "--model", "owl")).out.splitlines()
    assert table[0].startswith("id,ts_ms,model_id,")
    assert len(table) == 3
    markdown = (await piped(running, "activity", "--export", "md")).out.splitlines()
    assert (
        markdown[0]
        == "| ID | TIME | MODEL | PATH | STATUS | PROMPT | CACHED | OUTPUT | TOKENS/S | DURATION |"
    )
    assert len(markdown) == 5
    assert (await piped(running, "activity", "--export", "pdf")).code == 2


async def test_given_a_capture_when_shown_then_it_can_be_read_kept_and_sent_again(running: Daemon) -> None:
    await asked(running, "owl")

    done = await piped(running, "capture", "1")
    assert done.code == 0
    assert done.out.startswith("POST /v1/chat/completions\n")
    assert "\nanswer 200\n" in done.out
    assert '"Who are you?"' in done.out
    assert uncoloured((await on_terminal(running, "capture", "1")).out) == done.out

    capture = json.loads((await piped(running, "capture", "1", "--json")).out)
    assert (capture["id"], capture["req_path"]) == (1, "/v1/chat/completions")
    [entry] = json.loads((await piped(running, "capture", "1", "--har")).out)["log"]["entries"]
    assert (entry["request"]["url"], entry["response"]["status"]) == (
        f"{running.url}/v1/chat/completions",
        200,
    )
    command = (await piped(running, "capture", "1", "--curl")).out
    again = await trio.to_thread.run_sync(
        partial(subprocess.run, shlex.split(command), capture_output=True, timeout=60, check=True)
    )
    assert json.loads(again.stdout)["choices"]


async def test_given_no_such_capture_when_shown_then_it_says_why(running: Daemon) -> None:
    done = await piped(running, "capture", "99")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "swapd: cannot show 99: it has not been kept, or has made room for newer ones\n"
        "hint: captureBuffer in the configuration says how much is kept\n"
    )
    assert (await piped(running, "capture", "1", "--har", "--curl")).code == 2


async def test_given_a_request_in_flight_when_cancelled_then_its_client_is_told(tmp_path: Path) -> None:
    async with (
        run_daemon(config({"owl": upstream_command("--hold")}), tmp_path) as running,
        running.client(timeout_s=60) as client,
        trio.open_nursery() as nursery,
    ):
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await client.post("/v1/chat/completions", json=chat("owl"))).status_code)

        nursery.start_soon(ask)
        with trio.fail_after(60):
            while (await client.get("/api/status")).json()["inflight"] == 0:
                await trio.lowlevel.checkpoint()

        done = await piped(running, "cancel", "1")

        assert (done.code, done.out, done.err) == (0, "1: cancelled\n", "")
    assert statuses == [499]


async def test_given_nothing_in_flight_when_cancelled_then_it_says_so(running: Daemon) -> None:
    done = await piped(running, "cancel", "7")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "swapd: cannot cancel 7: there is no request of that id in flight\nhint: it may have ended\n"
    )


async def test_given_profiles_when_switched_then_the_list_shows_which_is_active(running: Daemon) -> None:
    done = await piped(running, "profile", "day")
    assert (done.code, done.out) == (0, "profile: day\n")

    shown = await piped(running, "profile")
    rows = [line.split() for line in shown.out.splitlines()]
    assert rows == [
        ["PROFILE", "PINS", "DESCRIPTION"],
        ["*", "day", "bird", "→", "owl", "By", "day"],
        ["night", "bird", "→", "wren", "—"],
    ]
    assert uncoloured((await on_terminal(running, "profile")).out) == shown.out
    assert json.loads((await piped(running, "profile", "--json")).out)["active"] == "day"
    assert (await piped(running, "profile", "none")).out == "profile: none\n"

    done = await piped(running, "profile", "dusk")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "swapd: cannot switch to dusk: there is no profile of that name\nhint: there are day, night, none\n"
    )
