"""What keys may see and do that may not manage the daemon, or use some of the models only."""

from __future__ import annotations

import json

import pytest

from swapd.nursery.states import ModelState
from tests.unit.http.api.world import CONFIG, World, build_world

KEYS = (
    CONFIG
    + """
peers:
  p1: {proxy: "http://127.0.0.1:9", models: [rm]}
selectors:
  pick: {strategy: pin, targets: [nick], name: Pick}
profiles:
  coding: {pins: {pub: m1, dis: null, cap: m1}}
apiKeys:
  - {key: admin-key, name: root, admin: true}
  - {key: user-key, name: alice}
  - {key: some-key, name: bob, models: [nick, "p1/*"]}
"""
)
ADMIN, USER, SOME = ({"x-api-key": f"{name}-key"} for name in ("admin", "user", "some"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/unload"),
        ("POST", "/api/models/unload"),
        ("PUT", "/api/profiles/active"),
        ("GET", "/api/captures/1"),
        ("GET", "/api/captures/1/req_body"),
        ("GET", "/api/config/status"),
        ("POST", "/api/config/reload"),
        ("GET", "/api/config/effective"),
        ("GET", "/logs"),
        ("GET", "/logs/stream/m1"),
    ],
)
async def test_given_a_key_that_may_not_manage_when_it_tries_then_it_is_told_so(
    method: str, path: str
) -> None:
    world = build_world(KEYS)

    answer = await world.call(method, path, USER)

    assert answer.status == 403
    assert json.loads(answer.body)["error"]["code"] == "admin_required"
    assert world.manager.unloaded == []


async def test_given_a_key_for_some_models_when_it_looks_then_it_sees_these_only() -> None:
    world = build_world(KEYS)
    world.manager.states = {"m1": ModelState.READY, "cap": ModelState.READY}

    entries = json.loads((await world.get("/api/models", SOME)).body)["models"]
    running = json.loads((await world.get("/running", SOME)).body)["running"]
    listed = json.loads((await world.get("/v1/models", SOME)).body)["data"]

    assert [entry["id"] for entry in entries] == ["m1", "p1/rm"]
    assert [entry["model"] for entry in running] == ["m1"]
    assert [record["id"] for record in listed] == ["m1", "p1/rm"]
    assert (await world.get("/v1/models/cap", SOME)).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/models/cap"),
        ("POST", "/api/models/load/cap"),
        ("POST", "/api/models/restart/cap"),
        ("POST", "/api/models/unload/cap"),
    ],
)
async def test_given_a_key_for_some_models_when_it_reaches_for_another_then_it_is_refused(
    method: str, path: str
) -> None:
    world = build_world(KEYS)

    refused = await world.call(method, path, SOME)
    allowed = await world.call(method, path.replace("cap", "m1"), SOME)

    assert refused.status == 403
    assert json.loads(refused.body)["error"]["code"] == "model_not_allowed"
    assert allowed.status in (200, 202)


async def test_given_an_admin_key_for_some_models_when_it_follows_a_log_then_not_that_of_another() -> None:
    world = build_world(KEYS + "  - {key: some-admin-key, name: eve, admin: true, models: [nick]}\n")
    world.logs.upstream("m1").write(b"12345")
    world.logs.end_streams()

    refused = await world.get("/logs/stream/cap", {"x-api-key": "some-admin-key"})
    allowed = await world.get("/logs/stream/nick", {"x-api-key": "some-admin-key"})

    assert json.loads(refused.body)["error"]["code"] == "model_not_allowed"
    assert allowed.status == 200


def begin(world: World, key_name: str) -> int:
    from types import SimpleNamespace

    request = world.control.telemetry.in_flight.begin(
        "m1",
        method="POST",
        path="/p",
        forwarded_path="/p",
        query=b"",
        headers=[],
        client="",
        progress=SimpleNamespace(status=0, bytes_sent=0, error_code=""),
        recorded=False,
    )
    request.key_name = key_name
    return request.id


async def test_given_requests_of_several_keys_when_one_cancels_then_only_its_own() -> None:
    world = build_world(KEYS)
    own, foreign = begin(world, "alice"), begin(world, "bob")

    assert (await world.call("POST", f"/api/inflight/{foreign}/cancel", USER)).status == 403
    assert (await world.call("POST", f"/api/inflight/{own}/cancel", USER)).status == 200
    assert (await world.call("POST", f"/api/inflight/{foreign}/cancel", ADMIN)).status == 200


# --- the list of names --------------------------------------------------------------------------------


async def test_given_peers_selectors_and_pins_when_listed_then_each_has_its_record() -> None:
    world = build_world(KEYS)
    world.manager.states = {"m1": ModelState.READY}
    world.control.profiles.activate("coding")

    records = {
        record["id"]: record for record in json.loads((await world.get("/v1/models", ADMIN)).body)["data"]
    }

    assert list(records) == ["a/b", "cap", "m1", "p1/rm", "pick", "pub"]
    assert records["p1/rm"]["name"] == "p1: rm"
    assert records["p1/rm"]["meta"] == {"llamaswap": {"type": "peer", "peerID": "p1"}}
    assert records["p1/rm"]["status"] == {"value": "unloaded"}
    assert list(records["pick"])[:5] == ["id", "object", "created", "owned_by", "name"]
    assert records["pick"]["meta"] == {
        "llamaswap": {"type": "selector", "strategy": "pin", "targets": ["nick"]}
    }
    assert records["pick"]["status"] == {"value": "loaded"}
    assert records["pub"]["meta"] == {"llamaswap": {"type": "profile"}}
    assert "name" not in records["pub"]


async def test_given_a_name_when_its_record_is_asked_for_then_aliases_and_unlisted_models_are_found() -> None:
    world = build_world(KEYS)

    alias = json.loads((await world.get("/v1/models/nick", ADMIN)).body)
    hidden = json.loads((await world.get("/v1/models/hid", ADMIN)).body)
    slashed = json.loads((await world.get("/v1/models/a%2Fb", ADMIN)).body)

    assert (alias["id"], alias["meta"]["llamaswap"]) == ("nick", {"type": "alias", "modelID": "m1"})
    assert (hidden["id"], slashed["id"]) == ("hid", "a/b")
    assert (await world.get("/v1/models/nope", ADMIN)).status == 404
