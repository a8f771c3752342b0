"""Lists of models and what can be done with them, against a real daemon."""

from __future__ import annotations

import pytest

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import CHAT, config, running

pytestmark = pytest.mark.real

NAMES = """
peers: {p1: {proxy: "http://127.0.0.1:9", models: [rm]}}
selectors: {pick: {strategy: pin, targets: [nick]}}
profiles: {coding: {pins: {pub: m1, dis: null}}}
"""


async def test_case_59_to_61_given_models_when_listed_then_each_says_what_it_can_and_whether_it_is_loaded(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more=NAMES)) as client:
        await client.chat()

        listed = await client.http.get("/v1/models", headers={"Origin": "http://x"})
        again = await client.get("/models")
    records = {record["id"]: record for record in listed.json()["data"]}
    assert list(records) == ["a/b", "cap", "m1", "off", "p1/rm", "pick"]
    assert listed.headers["access-control-allow-origin"] == "http://x"
    assert [record["id"] for record in again["data"]] == list(records)
    cap = records["cap"]
    assert cap["architecture"]["modality"] == "text+image->text"
    assert cap["capabilities"] == {"vision": True, "function_calling": True}
    assert (cap["context_length"], cap["meta"]["n_ctx"]) == (4096, 4096)
    assert cap["supported_parameters"] == ["tools", "tool_choice"]
    assert records["m1"]["status"] == records["pick"]["status"] == {"value": "loaded"}
    assert cap["status"] == {"value": "unloaded"}


async def test_case_62_given_a_model_when_it_runs_then_it_is_listed_as_running(daemon: StartDaemon) -> None:
    async with running(daemon) as client:
        assert (await client.http.get("/running")).text == '{"running":[]}\n'
        await client.chat()

        (entry,) = (await client.get("/running"))["running"]
    assert list(entry) == ["model", "state", "cmd", "proxy", "ttl", "name", "description"]
    assert (entry["model"], entry["state"], entry["ttl"], entry["name"]) == ("m1", "ready", 300, "Model One")


async def test_case_63_given_models_when_they_are_stopped_then_each_way_has_its_answer(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        await client.chat()

        all_of_them = await client.http.post("/api/models/unload")
        one = await client.http.post("/api/models/unload/a%2Fb")
        none = await client.http.post("/api/models/unload/nope")
        as_text = await client.http.get("/unload")
        assert (await client.get("/running")) == {"running": []}
    assert all_of_them.json() == {"msg": "ok"}
    assert (one.text, as_text.text) == ("OK", "OK")
    assert none.status_code == 404


async def test_case_64_given_profiles_when_one_is_active_then_its_names_lead_where_it_says(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more=NAMES)) as client:
        assert (await client.chat("pub")).status_code == 404

        switched = await client.http.put("/api/profiles/active", json={"name": "coding"})
        pinned = await client.chat("pub")
        disabled = await client.chat("dis")
        listed = [record["id"] for record in (await client.get("/v1/models"))["data"]]
        unknown = await client.http.put("/api/profiles/active", json={"name": "x"})
        rows = (await client.get("/api/metrics/activity?order=asc"))["data"]
    assert switched.json() == {"active": "coding"}
    assert pinned.status_code == 200
    assert disabled.status_code == 404
    assert "pub" in listed
    assert "dis" not in listed
    assert unknown.status_code == 404
    assert [row["model"] for row in rows] == ["pub", "m1"]


async def test_case_65_given_a_selector_when_asked_for_then_its_target_answers(daemon: StartDaemon) -> None:
    async with running(daemon, config(more=NAMES)) as client:
        assert (await client.chat("pick")).status_code == 200
        assert (await client.http.get("/upstream/pick/x")).status_code == 404

        (row,) = (await client.get("/api/metrics/activity"))["data"]
    assert row["model"] == "m1"
    assert row["requested_model"] == "nick"


async def test_case_70_given_logs_when_asked_for_then_browsers_get_the_pages_and_unknown_ones_are_refused(
    daemon: StartDaemon,
) -> None:
    async with running(daemon) as client:
        page = await client.http.get("/logs", headers={"Accept": "text/html"})
        unknown = await client.http.get("/logs/stream/nope")
        await client.http.post(CHAT, json={"model": "a/b"})
        async with client.stream("/logs/stream/a/b?no-history") as (headers, lines):
            await client.http.post("/api/models/restart/a/b?wait=1")
            line = await lines.next()
    assert (page.status_code, page.headers["location"]) == (302, "/ui/")
    assert unknown.status_code == 400
    assert headers["content-type"].startswith("text/plain")
    assert line
