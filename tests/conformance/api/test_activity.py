"""The activity log, against a real daemon."""

from __future__ import annotations

import csv
import json

import pytest
import trio

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import config, running

pytestmark = pytest.mark.real

ACTIVITY = "/api/metrics/activity"


async def test_case_22_given_an_unknown_model_when_asked_for_then_one_row_says_so(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        assert (await client.chat("zzz")).status_code == 404
        assert (await client.http.post("/v1/chat/completions", json={})).status_code == 404
        assert (await client.http.get("/props?model=zzz")).status_code == 404

        page = await client.get(ACTIVITY)
    assert (page["total"], page["total_pages"], page["page"], page["limit"]) == (1, 1, 1, 25)
    (row,) = page["data"]
    assert (row["id"], row["model"], row["resp_status_code"]) == (1, "zzz", 404)
    assert row["error_msg"] == "404 Not Found"
    assert set(row["tokens"].values()) == {0}


async def test_case_41_and_46_given_prefixes_when_requests_pass_then_rows_have_the_path_the_upstream_saw(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        await client.http.post("/v/embeddings", json={"model": "nick", "input": "x"})
        await client.http.post("/upstream/m1/v1/chat/completions", json={"messages": []})
        await client.http.post("/upstream/m1/probe", json={})
        await client.http.get("/props?model=m1")

        rows = (await client.get(f"{ACTIVITY}?order=asc"))["data"]
    assert [(row["model"], row["req_path"]) for row in rows] == [
        ("m1", "/embeddings"),
        ("m1", "/v1/chat/completions"),
    ]
    assert rows[0]["requested_model"] == "nick"


@pytest.mark.parametrize("stream", [False, True])
async def test_given_a_chat_when_it_has_passed_then_its_tokens_and_times_are_in_its_row(
    daemon: StartDaemon, stream: bool
) -> None:
    async with running(daemon) as client:
        extra = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        await client.chat(**extra)

        (row,) = (await client.get(ACTIVITY))["data"]
    assert row["tokens"]["output_tokens"] == 4
    assert row["tokens"]["input_tokens"] > 0
    assert row["stream"] is stream
    assert row["duration_ms"] >= row["ttft_ms"] >= row["queue_ms"] >= 0
    assert row["ts_ms"] // 1000 >= 1_700_000_000
    assert row["finish_reason"]
    assert row["client"] == "127.0.0.1"
    assert row["req_bytes"] > 10
    assert row["resp_bytes"] > 10


async def test_case_55_given_an_upstream_error_when_it_is_relayed_then_the_row_has_its_reason(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(flags=("--status", "422"))) as client:
        answer = await client.chat()

        (row,) = (await client.get(ACTIVITY))["data"]
    assert answer.status_code == row["resp_status_code"] == 422
    assert row["error_msg"] == answer.json()["error"]["message"]


async def test_case_54_given_a_cancelled_request_when_it_ends_then_its_row_says_so(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(flags=("--load", "60s"))) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.chat)
            await client.daemon.printed("stopped → starting")
            await client.http.post("/api/inflight/1/cancel")

        (row,) = (await client.get(ACTIVITY))["data"]
    assert (row["resp_status_code"], row["cancelled"]) == (499, True)


async def test_case_66_given_rows_when_asked_for_then_parameters_are_honoured_or_refused(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        for model in ("x", "y", "x", "z"):
            await client.chat(model)

        async def refused(query: str) -> str:
            answer = await client.http.get(f"{ACTIVITY}?{query}")
            assert answer.status_code == 400, query
            message: str = answer.json()["error"]["message"]
            return message

        assert await refused("limit=0") == "limit must be between 1 and 999"
        assert await refused("limit=1000") == "limit must be between 1 and 999"
        assert await refused("limit=x") == "invalid limit"
        assert await refused("page=0") == "page must be >= 1"
        assert await refused("min_id=9&max_id=2") == "min_id must be <= max_id"
        assert await refused("min_id=0") == "min_id must be >= 1"
        assert await refused("end=2026-01-01") == "invalid 'end' timestamp, use RFC3339 format"
        assert (
            await refused("start=2027-01-01T00:00:00Z&end=2026-01-01T00:00:00Z") == "start must be before end"
        )
        assert await refused("sort=nope") == "invalid sort column"
        assert await refused("order=up") == "order must be asc or desc"

        page = await client.get(f"{ACTIVITY}?limit=2&page=2&sort=duration&order=asc&model=")
        two = await client.get(f"{ACTIVITY}?model=x&model=z&sort=id&order=ASC")
        beyond = await client.get(f"{ACTIVITY}?page=9&limit=3")
        behind = await client.get(f"{ACTIVITY}?after_id=3")
        stats = await client.get("/api/metrics/stats?model=x")
        week = await client.get("/api/metrics/stats?window=7d")
        old = await client.http.get("/api/metrics")
    assert (len(page["data"]), page["total"], page["total_pages"]) == (2, 4, 2)
    assert [row["id"] for row in two["data"]] == [1, 3, 4]
    assert (beyond["data"], beyond["total"]) == ([], 4)
    assert [row["id"] for row in behind["data"]] == [4]
    assert stats == {
        "total_requests": 2,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_cache_tokens": 0,
        "prompt_histogram": None,
        "gen_histogram": None,
    }
    assert week["error_rate"] == 1.0
    assert [row["id"] for row in old.json()] == [1, 2, 3, 4]
    assert old.headers["x-total-count"] == "4"


async def test_given_rows_when_downloaded_then_every_one_that_matches_is_there(daemon: StartDaemon) -> None:
    async with running(daemon) as client:
        for model in ("=1+1", "y", "y"):
            await client.chat(model)

        as_csv = await client.http.get(f"{ACTIVITY}?format=csv&limit=1")
        as_lines = await client.http.get(f"{ACTIVITY}?model=y", headers={"Accept": "application/x-ndjson"})
    rows = list(csv.DictReader(as_csv.text.splitlines()))
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert as_csv.headers["content-disposition"] == 'attachment; filename="activity.csv"'
    assert [(row["id"], row["model_id"]) for row in rows] == [("1", "'=1+1"), ("2", "y"), ("3", "y")]
    assert [json.loads(line)["id"] for line in as_lines.text.splitlines()] == [2, 3]


async def test_case_72_given_a_client_of_events_when_a_chat_passes_then_its_row_is_announced(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client, client.events("?types=activity,metrics") as events:
        await client.chat("zzz")

        assert await events.next() == ("activity", {"id": 1})
        kind, rows = await events.next()
    assert kind == "metrics"
    assert [row["model"] for row in rows] == ["zzz"]


async def test_given_a_file_when_the_daemon_is_restarted_then_history_is_there_and_ids_go_on(
    daemon: StartDaemon, tmp_path: object
) -> None:
    text = config(more=f"store: {{path: {tmp_path}/activity.db}}")
    async with running(daemon, text) as client:
        await client.chat("zzz")
        await client.daemon.stop()
    async with running(daemon, text) as client:
        await client.chat("zzz")

        assert [row["id"] for row in (await client.get(ACTIVITY))["data"]] == [2, 1]


async def test_given_a_profile_and_priorities_when_requests_pass_then_rows_tell_of_them_and_of_the_load(
    daemon: StartDaemon,
) -> None:
    more = (
        "profiles: {coding: {pins: {pub: m1}}}\n"
        "routing: {scheduler: {use: fifo, settings: {fifo: {priority: {m1: 3}}}}}"
    )
    async with running(daemon, config(more=more)) as client:
        await client.http.put("/api/profiles/active", json={"name": "coding"})
        await client.chat("pub")
        await client.chat("m1")
        await client.chat("zzz")

        unknown, warm, cold = (await client.get(ACTIVITY))["data"]
    assert cold["profile"] == "coding" and cold["metadata"]["fifo_priority"] == "3"
    assert 0 < cold["load_ms"] <= cold["queue_ms"]
    assert "profile" not in warm and "load_ms" not in warm
    assert warm["metadata"]["fifo_priority"] == "3"
    assert "fifo_priority" not in unknown.get("metadata", {})


async def test_given_a_server_that_cannot_start_when_shown_then_its_exit_code_is_known(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        assert (await client.chat("off")).status_code == 502
        await client.chat("m1")
        await client.http.post("/api/models/unload/m1")

        failed = (await client.get("/api/models/off"))["starts"][-1]
        stopped = (await client.get("/api/models/m1"))["starts"][0]
    assert (failed["outcome"], failed["exit_code"], failed["signal"]) == ("failed", 3, None)
    assert stopped["outcome"] == "stopped"
    assert (stopped["exit_code"], stopped["signal"]) != (None, None)
