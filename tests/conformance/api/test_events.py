"""The event stream, against a real daemon."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import trio

from bench.procfs import resident_bytes
from swapd.testing.daemon import upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import Client, EndOfStream, config, running

pytestmark = pytest.mark.real

BEGINNING = ["logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight"]


async def test_case_71_given_a_client_when_it_connects_then_six_messages_tell_how_things_are(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client, client.events() as events:
        headers = events.headers
        messages = await events.initial()

    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-accel-buffering"] == "no"
    assert [kind for kind, _ in messages] == BEGINNING
    proxy, upstream, models, ui, profile, in_flight = (data for _, data in messages)
    assert proxy["source"] == "proxy"
    assert "listening on" in proxy["data"]
    assert upstream == {"source": "upstream", "data": ""}
    assert [entry["id"] for entry in models] == ["a/b", "cap", "hid", "m1", "off"]
    assert {entry["state"] for entry in models} == {"stopped"}
    assert models[1]["capabilities"] == {"vision": True, "function_calling": True}
    assert models[1]["context_length"] == 4096
    assert models[3]["aliases"] == ["nick"]
    assert ui == {"activity": {"session_id": ["X-Session-ID", "X-Litellm-Session-Id"]}}
    assert profile == {"active": None}
    assert in_flight == {"operation": "snapshot", "requests": [], "total": 0}


async def test_case_72_given_a_client_when_a_chat_passes_then_its_start_head_and_end_are_told_in_order(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client, client.events("?types=inflight") as events:
        assert (await events.next())[1]["operation"] == "snapshot"

        await client.http.post("/v1/chat/completions", json={"model": "nick"}, headers={"X-Api-Key": "x"})

        started = await events.until("inflight", lambda data: data["operation"] == "upsert")
        begun = await events.until("inflight", lambda data: data.get("request", {}).get("resp_headers"))
        ended = await events.until("inflight", lambda data: data["operation"] == "remove")
    entry = started["request"]
    assert entry["id"] == begun["request"]["id"] == ended["id"] == "1"
    assert (entry["model"], entry["req_path"], entry["method"]) == ("m1", "/v1/chat/completions", "POST")
    assert entry["req_headers"]["X-Api-Key"] == "[REDACTED]"
    assert entry["req_headers"]["Content-Type"] == "application/json"
    assert "Host" not in entry["req_headers"]
    assert entry["remote_ip"] == "127.0.0.1"
    assert (entry["resp_headers"], entry["resp_bytes"]) == ({}, 0)
    assert begun["request"]["resp_headers"]["Content-Type"].startswith("application/json")
    assert ended["total"] == 0


async def test_given_a_client_when_a_model_starts_then_its_states_are_told_and_the_last_is_not_missed(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client, client.events("?types=modelStatus,modelProgress") as events:
        assert (await client.http.post("/api/models/load/nick?wait=1")).json() == {"state": "ready"}
        await client.chat()

        phases = [await events.until("modelProgress") for _ in range(2)]
        models = await events.until("modelStatus", lambda data: data[3].get("expires_at"))
    assert [(phase["model"], phase["phase"]) for phase in phases] == [("m1", "spawning"), ("m1", "ready")]
    assert models[3]["state"] == "ready"
    assert models[3]["pid"] > 0
    assert models[3]["load_ms"] >= 0
    assert models[3]["ttl_s"] == 300
    assert models[3]["expires_at"] > models[3]["ready_at"] >= models[3]["started_at"]


async def test_given_a_client_when_a_bad_configuration_is_offered_then_it_is_told_and_the_stream_lives(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client, client.events("?types=configStatus,notice,uiConfig") as events:
        assert [(await events.next())[0] for _ in range(2)] == ["uiConfig", "configStatus"]
        file = client.daemon.directory / "config.yaml"
        good = file.read_text()

        file.write_text("models: 7")
        rejected = await client.http.post("/api/config/reload")
        told = [await events.next(), await events.next()]
        file.write_text(good + "\nui: {activity: {session_id: [X-Mine]}}\n")
        accepted = await client.http.post("/api/config/reload")
        told_then = [await events.next(), await events.next()]

    assert rejected.status_code == 422
    assert rejected.json()["state"] == "rejected"
    assert rejected.json()["generation"] == 1
    assert rejected.json()["error"]["problems"][0]["line"] == 1
    assert [kind for kind, _ in told] == ["configStatus", "notice"]
    assert accepted.status_code == 200
    assert (accepted.json()["generation"], accepted.json()["error"]) == (2, None)
    assert told_then[0][1]["generation"] == 2
    assert told_then[1] == ("uiConfig", {"activity": {"session_id": ["X-Mine"]}})


async def test_given_a_client_when_the_daemon_stops_then_it_is_told_and_the_stream_ends(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client, client.events("?types=shutdown") as events:
        await trio.to_thread.run_sync(client.daemon.signal, 15)

        told = await events.until("shutdown")
        with pytest.raises(EndOfStream):
            await events.next()
    assert told["deadline_ms"] == 30_000


async def test_given_clients_that_do_not_read_when_logs_flood_then_memory_is_bounded_and_others_are_served(
    daemon: StartDaemon, tmp_path: Path
) -> None:
    flood = upstream_command("--flood", "10MB", "--log-interval", "0.2ms")
    text = config()
    text = text.replace("models:\n", f'models:\n  flood: {{cmd: "{flood}"}}\n')
    text += (
        "\nrouting: {router: {use: group, settings: {groups: {g: {swap: false, members: [flood, m1]}}}}}\n"
    )
    async with running(daemon, text) as client:
        stalled = [await stalled_client(client.daemon.url) for _ in range(4)]
        try:
            await client.chat("m1")
            before = resident_bytes([client.daemon.pid])
            await client.chat("flood")
            await until_the_flood_has_passed(client)

            with trio.fail_after(20):
                for _ in range(300):
                    assert (await client.chat("m1")).status_code == 200
            grown = resident_bytes([client.daemon.pid]) - before
        finally:
            for each in stalled:
                each.close()
    assert grown < 24 * 1024 * 1024


async def stalled_client(url: str) -> socket.socket:
    """A connection that has asked for all events and reads none of them."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = await trio.to_thread.run_sync(socket.create_connection, (host, int(port)))
    connection.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


async def until_the_flood_has_passed(client: Client) -> None:
    """Wait until the model `flood` prints a line every now and then, 5,000 a second."""
    async with client.stream("/logs/stream/flood") as (_, lines):
        while not re.fullmatch(rb"line \d+", await lines.next()):
            pass
