"""Conformance cases 9 to 18: who may ask, and what of their keys goes on."""

from __future__ import annotations

from base64 import b64encode

import pytest

from tests.conformance.requests.world import World


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


def test_case_9_no_key(guarded: World) -> None:
    answer = guarded.client.get("/running")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="swapd"')
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "unauthorized")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "bearer secret"}, 200),
        ({"Authorization": basic("any:secret")}, 200),
        ({"x-api-key": "secret"}, 200),
        ({"Authorization": "Bearer wrong", "x-api-key": "secret"}, 401),
        ({"Authorization": "Basic !!!", "x-api-key": "secret"}, 200),
        ({"Authorization": basic("secret:"), "x-api-key": "secret"}, 200),
        ({"Authorization": "Bearer  secret"}, 401),
        ({"Authorization": "Bearer"}, 401),
    ],
)
def test_cases_10_to_14_where_the_key_may_stand(guarded: World, headers: dict[str, str], status: int) -> None:
    assert guarded.client.get("/running", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/health", "/wol-health", "/favicon.ico", "/ui/", "/nope", "/"])
def test_cases_15_and_16_open_paths(guarded: World, path: str) -> None:
    assert guarded.client.get(path).status_code != 401


def test_case_17_no_key_in_the_query(guarded: World) -> None:
    assert guarded.client.get("/running?api_key=secret").status_code == 401


@pytest.mark.parametrize("model", ["m1", "p1/rm"])
def test_case_18_own_keys_stay_in_the_house(guarded: World, model: str) -> None:
    seen = guarded.seen if model == "m1" else guarded.seen_by_peer
    guarded.chat({"model": model}, authorization="Bearer secret", cookie="a=1; swapd_session=s; b=2")
    assert seen().header("authorization") is None
    assert seen().header("cookie") == "a=1; b=2"
    guarded.chat({"model": model}, authorization="Bearer secret", x_api_key="other")
    assert (seen().header("authorization"), seen().header("x-api-key")) == (None, "other")
    guarded.chat({"model": model}, authorization=basic("x:secret"), x_api_key="limited")
    assert (seen().header("authorization"), seen().header("x-api-key")) == (None, None)
    guarded.client.get("/upstream/" + model + "/x", headers={"x-api-key": "secret"})
    assert seen().header("x-api-key") is None


def test_case_18_without_keys_credentials_pass(world: World) -> None:
    world.chat({"model": "m1"}, authorization="Bearer any")
    assert world.seen().header("authorization") == "Bearer any"


def test_case_18_a_peers_own_key(world: World) -> None:
    world.chat({"model": "pk/keyed"}, authorization="Bearer mine", x_api_key="mine")
    assert world.seen_by_peer().header("authorization") == "Bearer pk"
    assert world.seen_by_peer().header("x-api-key") == "pk"


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("m1", 200),
        ("nick", 200),
        ("p1/rm", 200),
        ("rm", 200),
        ("set", 200),
        ("cap", 403),
        ("pick", 200),
        ("zz", 404),
    ],
)
def test_a_limited_key_is_good_for_its_models(guarded: World, model: str, status: int) -> None:
    answer = guarded.chat({"model": model}, x_api_key="limited")
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "model_not_allowed"
        assert answer.json()["error"]["message"] == f"api key is not allowed to use model {model}"
        assert guarded.client.get(f"/upstream/{model}/x", headers={"x-api-key": "limited"}).status_code == 403
