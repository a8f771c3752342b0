"""`/api/models…`, `/api/profiles…`, `/api/status`, `/api/config/…`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swapd.nursery.events import Crashed, Refusal, RefusalCode, StartFailed, StateChanged
from swapd.nursery.states import ModelState
from tests.unit.http.api.world import CONFIG, Answer, World, build_world, scope_of

PROFILES = (
    CONFIG
    + """
  key: {cmd: "serve --api-key s3cret --token=t0p --api-key-file /k --port 1", proxy: "http://127.0.0.1:5805"}
profiles:
  coding: {description: For code, pins: {pub: m1, dis: null}}
peers:
  p1: {proxy: "http://127.0.0.1:9", models: [rm]}
"""
)


async def call(world: World, method: str, path: str, body: bytes = b"") -> Answer:
    answered = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    await world.app(scope_of(method, path), receive, answered.take)
    return answered


async def test_given_models_when_listed_then_all_are_there_and_peers_come_last() -> None:
    world = build_world(PROFILES)
    world.manager.states = {"m1": ModelState.READY}

    models = json.loads((await world.get("/api/models")).body)["models"]

    assert [entry["id"] for entry in models] == ["a/b", "cap", "hid", "key", "m1", "p1/rm"]
    assert models[4]["state"] == "ready"
    assert models[4]["pid"] == 4711
    assert models[0]["state"] == "stopped"
    assert models[2]["unlisted"] is True
    assert models[5] == {
        "id": "p1/rm",
        "name": "",
        "description": "",
        "state": "",
        "unlisted": False,
        "peerID": "p1",
    }


async def test_given_a_model_when_asked_for_then_everything_known_is_told_and_secrets_are_masked() -> None:
    world = build_world(PROFILES)

    detail = json.loads((await world.get("/api/models/key")).body)
    by_alias = json.loads((await world.get("/api/models/nick")).body)
    peer = json.loads((await world.get("/api/models/p1/rm")).body)

    assert detail["cmd"] == [
        "serve",
        "--api-key",
        "********",
        "--token=********",
        "--api-key-file",
        "/k",
        "--port",
        "1",
    ]
    assert by_alias["id"] == "m1"
    assert by_alias["concurrency"] == {"limit": 10, "reserved": 0, "queued": 0}
    assert by_alias["profiles"] == ["coding"]
    assert by_alias["groups"] == ["(default)"]
    assert by_alias["breaker"] is None
    assert peer["peerID"] == "p1"
    assert (await world.get("/api/models/nope")).status == 404
    assert (await world.get("/api/models/unload")).status == 405


async def test_given_models_that_may_not_run_together_when_asked_then_it_is_told_who_would_have_to_stop() -> (
    None
):
    world = build_world(PROFILES)
    world.manager.states = {"cap": ModelState.READY}

    assert json.loads((await world.get("/api/models/m1")).body)["would_evict"] == ["cap"]
    assert json.loads((await world.get("/api/models/cap")).body)["would_evict"] == []


async def test_given_a_model_when_it_is_loaded_then_with_wait_the_answer_is_the_outcome() -> None:
    world = build_world()

    loaded = await call(world, "POST", "/api/models/load/a%2Fb?wait=1")
    world.manager.refusal = Refusal(RefusalCode.START_FAILED, "no such weights")
    failed = await call(world, "POST", "/api/models/load/m1?wait=1")
    restarted = await call(world, "POST", "/api/models/restart/a/b?wait=1")

    assert (loaded.status, loaded.body) == (200, b'{"state":"ready"}\n')
    assert failed.status == 502
    assert json.loads(failed.body)["error"]["code"] == "upstream_start_failed"
    assert restarted.status == 502
    assert world.manager.unloaded == [["a/b"]]
    assert world.manager.drained == [True]


async def test_given_a_model_when_it_is_loaded_without_waiting_then_that_goes_on_in_the_background() -> None:
    world = build_world()

    answer = await call(world, "POST", "/api/models/load/m1")
    ((function, arguments),) = world.background
    await function(*arguments)

    assert (answer.status, answer.body) == (202, b'{"state":"stopped"}\n')
    assert world.manager.states["m1"] is ModelState.READY


@pytest.mark.parametrize("path", ["load/nope", "restart/nope", "unload/nope", "load/p1/rm", "unload/p1/rm"])
async def test_given_no_such_local_model_when_it_is_to_be_loaded_or_stopped_then_it_is_not_found(
    path: str,
) -> None:
    answer = await call(build_world(PROFILES), "POST", f"/api/models/{path}")

    assert answer.status == 404
    assert json.loads(answer.body)["error"]["message"] == "model not found"


async def test_given_drain_when_models_are_stopped_then_requests_may_end_first() -> None:
    world = build_world()

    for path in ("unload?drain=1", "unload", "unload/m1?drain=1", "unload/m1?drain=0"):
        await call(world, "POST", f"/api/models/{path}")

    assert world.manager.drained == [True, False, True, False]


# --- the past of a model ------------------------------------------------------------------------------


async def test_given_starts_that_went_wrong_when_a_model_is_shown_then_its_past_is_too() -> None:
    world = build_world()
    history = world.control.history
    stopped, starting, ready = ModelState.STOPPED, ModelState.STARTING, ModelState.READY
    for event in (
        StateChanged("m1", stopped, starting, 1),
        StartFailed("m1", 1, "exit status 3\nno such weights", None),
        StateChanged("m1", starting, stopped, 1),
        StateChanged("m1", stopped, starting, 2),
        StateChanged("m1", starting, ready, 2),
        Crashed("m1", 2, "exit status 9", None),
        StateChanged("m1", ready, stopped, 2),
    ):
        history.on_event(event)

    detail = json.loads((await world.get("/api/models/m1")).body)

    assert detail["last_error"] == "exit status 9"
    assert [(start["outcome"], start["reason"]) for start in detail["starts"]] == [
        ("crashed", "exit status 9"),
        ("failed", "exit status 3"),
    ]
    assert detail["starts"][0]["ready_at"]
    assert detail["starts"][1]["ready_at"] is None


# --- profiles -----------------------------------------------------------------------------------------


async def test_given_profiles_when_one_is_made_active_then_it_is_listed_as_such() -> None:
    world = build_world(PROFILES)

    before = json.loads((await world.get("/api/profiles")).body)
    changed = await call(world, "PUT", "/api/profiles/active", b'{"name":"coding","x":1}')
    after = json.loads((await world.get("/api/profiles")).body)
    ended = await call(world, "PUT", "/api/profiles/active", b'{"name":""}')

    assert before == {
        "active": None,
        "profiles": [{"id": "coding", "description": "For code", "pins": {"pub": "m1", "dis": ""}}],
    }
    assert (changed.status, changed.body) == (200, b'{"active":"coding"}\n')
    assert after["active"] == "coding"
    assert ended.body == b'{"active":null}\n'
    assert (await build_world().get("/api/profiles")).body == b'{"active":null,"profiles":[]}\n'


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "invalid profile request"),
        (b"[1]", 400, "invalid profile request"),
        (b'{"name":', 400, "invalid profile request"),
        (b"\xff", 400, "invalid profile request"),
        (b"{}", 400, "profile name is required"),
        (b'{"name":7}', 400, "profile name must be a string or null"),
        (b'{"name":"x"}', 404, 'profile "x" not found'),
    ],
)
async def test_given_a_bad_wish_when_a_profile_is_to_be_active_then_the_reason_is_told_and_nothing_changes(
    body: bytes, status: int, message: str
) -> None:
    world = build_world(PROFILES)
    world.control.profiles.activate("coding")

    answer = await call(world, "PUT", "/api/profiles/active", body)

    assert answer.status == status
    assert json.loads(answer.body)["error"]["message"] == message
    assert world.control.profiles.active == "coding"


async def test_given_a_body_without_end_when_a_profile_is_to_be_active_then_it_is_too_large() -> None:
    answer = await call(build_world(), "PUT", "/api/profiles/active", b" " * 70_000)

    assert answer.status == 413


# --- status, configuration ----------------------------------------------------------------------------


async def test_given_a_daemon_when_its_status_is_asked_for_then_models_are_counted_by_state() -> None:
    world = build_world()
    world.manager.states = {"m1": ModelState.READY, "cap": ModelState.STOPPED, "hid": ModelState.STOPPED}

    status = json.loads((await world.get("/api/status")).body)

    assert status["models"] == {"ready": 1, "stopped": 2}
    assert status["config"] == {"generation": 1, "state": "ok"}
    assert (status["version"], status["commit"], status["uptime_s"]) == ("1.2.3", "abc", 100)
    assert (status["inflight"], status["queued"], status["ready"]) == (0, 0, True)


async def test_given_a_configuration_when_its_state_is_asked_for_then_it_is_told() -> None:
    world = build_world()

    status = json.loads((await world.get("/api/config/status")).body)
    reloaded = await call(world, "POST", "/api/config/reload")

    assert status["state"] == "ok"
    assert status["trigger"] == "start"
    assert status["error"] is None
    assert status["loaded_at"] == "2026-08-05T07:07:03.900Z"
    assert json.loads(reloaded.body) == status


async def test_given_secrets_when_the_effective_configuration_is_asked_for_then_they_are_masked() -> None:
    world = build_world(CONFIG + "\napiKeys: [s3cret]\n")

    answer = await world.get("/api/config/effective", {"authorization": "Bearer s3cret"})

    assert answer.headers["content-type"] == "application/yaml"
    assert b"models:" in answer.body
    assert b"s3cret" not in answer.body


async def test_given_a_pinned_model_then_its_entry_says_by_whom_until_it_is_taken_back() -> None:
    # Given a key with a name
    world = build_world("apiKeys: [{key: secret, name: ann}]\n" + CONFIG)
    world.manager.states["m1"] = ModelState.READY
    key = {"x-api-key": "secret"}
    # When it pins a model, by its alias
    answered = await world.call("PUT", "/api/models/keep/nick", key)
    assert (answered.status, json.loads(answered.body)) == (200, {"pinned_by": "ann"})
    # Then the list of models says so, and no time at which it would end
    entry = json.loads((await world.get("/api/models/m1", key)).body)
    assert entry["pinned_by"] == "ann"
    assert "expires_at" not in entry
    # When it is taken back
    answered = await world.call("DELETE", "/api/models/keep/m1", key)
    # Then it does not any more
    assert (answered.status, json.loads(answered.body)) == (200, {"pinned_by": None})
    entry = json.loads((await world.get("/api/models/m1", key)).body)
    assert "pinned_by" not in entry
    assert "expires_at" in entry


async def test_given_no_keys_when_a_model_is_pinned_then_it_was_somebody() -> None:
    world = build_world()
    assert json.loads((await world.call("PUT", "/api/models/keep/m1")).body) == {"pinned_by": "api"}
    assert (await world.call("PUT", "/api/models/keep/nope")).status == 404
    assert (await world.get("/api/models/keep/m1")).status == 405
