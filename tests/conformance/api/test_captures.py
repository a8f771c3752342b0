"""Captures, against a real daemon."""

from __future__ import annotations

import base64

import pytest

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import CHAT, config, running

pytestmark = pytest.mark.real


async def test_case_67_given_requests_when_captures_are_asked_for_then_bodies_are_whole_and_secrets_masked(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        plain = await client.http.post(
            CHAT,
            json={"model": "m1", "messages": []},
            headers={"Authorization": "Bearer s", "Accept-Encoding": "identity"},
        )
        streamed = await client.chat(stream=True)

        bad = await client.http.get("/api/captures/abc")
        unknown = await client.http.get("/api/captures/999999")
        first = await client.get("/api/captures/1")
        second = await client.get("/api/captures/2")
        lean = await client.get("/api/captures/2?bodies=0")
        raw = await client.http.get("/api/captures/2/resp_body")
        rows = (await client.get("/api/metrics/activity?has_capture=1"))["data"]
    assert (bad.status_code, bad.json()["error"]["message"]) == (400, "invalid capture ID")
    assert (unknown.status_code, unknown.json()["error"]["message"]) == (404, "capture not found")
    assert base64.b64decode(first["req_body"]) == b'{"model":"m1","messages":[]}'
    assert base64.b64decode(first["resp_body"]) == plain.content
    assert first["req_headers"]["Authorization"] == "[REDACTED]"
    assert base64.b64decode(second["resp_body"]) == streamed.content == raw.content
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert (lean["req_body"], lean["resp_body"]) == (None, None)
    assert [row["has_capture"] for row in rows] == [True, True]


async def test_case_55_given_an_upstream_error_when_captured_then_its_text_is_kept(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(flags=("--status", "422"))) as client:
        answer = await client.chat()

        capture = await client.get("/api/captures/1")
    assert base64.b64decode(capture["resp_body"]) == answer.content


async def test_given_captures_switched_off_when_a_request_passes_then_there_is_none(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more="captureBuffer: 0")) as client:
        await client.chat()

        (row,) = (await client.get("/api/metrics/activity"))["data"]
        assert row["has_capture"] is False
        assert (await client.http.get("/api/captures/1")).status_code == 404
