"""Conformance cases 19 to 40 and 65: which model is meant, and what its server gets to see."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

from tests.conformance.requests.world import World

WAV = os.urandom(20_000)


def form(model: str, boundary: str = "b0undary", extra: str = "") -> bytes:
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        f"Content-Type: audio/x-wav\r\n\r\n"
    )
    tail = (
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}'
        f"\r\n--{boundary}{extra}--\r\n"
    )
    return head.encode() + WAV + tail.encode()


def transcribe(world: World, body: bytes, boundary: str = "b0undary"):  # type: ignore[no-untyped-def]
    content_type = f"multipart/form-data; boundary={boundary}" if boundary else "multipart/form-data"
    return world.client.post("/v1/audio/transcriptions", content=body, headers={"content-type": content_type})


@pytest.mark.parametrize("name", ["m1", "nick"])
def test_cases_19_and_20_id_and_alias(world: World, name: str) -> None:
    answer = world.chat({"model": name})
    assert answer.status_code == 200
    assert world.seen().json() == {"model": name}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "no model id could be identified"),
        (b'{"model":"zzz"}', "no router for requested model"),
        (b"not json", "no model id could be identified"),
        (b'{"model":" m1"}', "no router for requested model"),
        (b'{"model":null}', "no model id could be identified"),
        (b"", "no model id could be identified"),
        (b'["model","m1"]', "no model id could be identified"),
        (b'{"Model":"m1"}', "no model id could be identified"),
        (b'\x1f\x8b\x08{"model":"m1"}', "no model id could be identified"),
        (b'{"model":"m1\xff"}', "no router for requested model"),
        (b'{"model":"\\ud800"}', "no router for requested model"),
        (b'{"model":{"model":"m1"}}', "no router for requested model"),
    ],
)
def test_cases_21_to_23_and_25_no_such_model(world: World, body: bytes, message: str) -> None:
    before = len(world.upstream.requests)
    answer = world.chat(body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, message)
    assert len(world.upstream.requests) == before


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m1"',
        b'{"model":"m1","model":"zzz"}',
        b'{"model":"m1"}}} trailing',
        b'\xef\xbb\xbf{"model":"m1"}',
        b'{"mod\\u0065l":"m1"}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"model":"m1"}',
        b'{"model":"m1","t":1e400,"s":"\\ud800","u":"\xff\xfe"}',
        b'{"model":"m1","seed":12345678901234567890,"t":1.0}',
    ],
)
def test_cases_24_26_and_38_odd_bodies_arrive_as_they_were_sent(world: World, body: bytes) -> None:
    assert world.chat(body).status_code == 200
    assert bytes(world.seen().body) == body


def test_case_27_form_arrives_identical(world: World) -> None:
    body = form("m1")
    assert transcribe(world, body).status_code == 200
    assert bytes(world.seen().body) == body
    assert world.seen().header("content-type") == "multipart/form-data; boundary=b0undary"


def test_case_28_form_is_rewritten_in_place(world: World) -> None:
    assert transcribe(world, form("a/b")).status_code == 200
    assert bytes(world.seen().body) == form("real")
    assert world.seen().header("content-length") == str(len(form("real")))


def test_case_28_large_form_goes_by_way_of_the_disk(world: World) -> None:
    head, tail = form("a/b").split(WAV)
    upload = os.urandom(1_000_000) * 12
    assert transcribe(world, head + upload + tail).status_code == 200
    expected = head + upload + form("real").split(WAV)[1]
    assert (world.seen().body_length, world.seen().body_sha256) == (
        len(expected),
        sha256(expected).hexdigest(),
    )


def test_case_29_url_encoded(world: World) -> None:
    answer = world.client.post(
        "/v1/completions",
        content=b"model=m1&extra=1",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    assert bytes(world.seen().body) == b"model=m1&extra=1"


def test_case_30_model_in_the_query(world: World) -> None:
    answer = world.client.post("/v1/audio/speech?model=m1", content=b"\x00raw\xff")
    assert answer.status_code == 200
    assert (world.seen().target, bytes(world.seen().body)) == ("/v1/audio/speech?model=m1", b"\x00raw\xff")


def test_case_31_get_with_a_model(world: World) -> None:
    answer = world.client.get("/v1/audio/voices?model=nick")
    assert answer.status_code == 200
    assert (world.seen().method, world.seen().target) == ("GET", "/v1/audio/voices?model=nick")


def test_case_32_get_without_a_model(world: World) -> None:
    assert world.client.get("/props").status_code == 404


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (form("m1"), ""),
        (form("m1"), "other"),
        (form("m1")[:-10], "b0undary"),
        (form("m1")[:2000], "b0undary"),
        (form("m1", extra="x"), "b0undary"),
        (b"", "b0undary"),
    ],
)
def test_case_33_broken_forms_reach_nobody(world: World, body: bytes, boundary: str) -> None:
    before = len(world.upstream.requests)
    answer = transcribe(world, body, boundary)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "no model id could be identified")
    assert len(world.upstream.requests) == before


def test_case_34_use_model_name(world: World) -> None:
    world.chat(b'{"model":"a/b","x":1}')
    assert bytes(world.seen().body) == b'{"model":"real","x":1}'
    assert world.seen().header("content-length") == "22"


def test_case_35_strip(world: World) -> None:
    world.chat(b'{"model":"strict","temperature":1,"x":2}')
    assert bytes(world.seen().body) == b'{"model":"strict","x":2}'


def test_case_35_a_pattern_cannot_be_stripped(world: World) -> None:
    answer = world.chat({"model": "wild"})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "error stripping parameter a* from request"


def test_case_36_set_nested(world: World) -> None:
    world.chat(b'{"model":"set","chat_template_kwargs":{"k":1}}')
    assert world.seen().json()["chat_template_kwargs"] == {"k": 1, "enable_thinking": False}


@pytest.mark.parametrize(("name", "top_p"), [("set", 0.5), ("set2", 0.5), ("setnick", 0.1)])
def test_case_37_set_by_the_name_asked_for(world: World, name: str, top_p: float) -> None:
    world.chat({"model": name})
    assert (world.seen().json()["model"], world.seen().json()["top_p"]) == (name, top_p)


def test_case_38_what_is_not_edited_keeps_its_spelling(world: World) -> None:
    world.chat(b' {"model" : "set","seed":12345678901234567890,"t":1.0, "top_p": 1e400}')
    assert bytes(world.seen().body) == (
        b' {"model" : "set","seed":12345678901234567890,"t":1.0, "top_p": 0.5'
        b',"chat_template_kwargs":{"enable_thinking":false}}'
    )


def test_filters_that_cannot_be_applied_leave_the_body_alone(world: World) -> None:
    assert world.chat(b'{"model":"set"').status_code == 200
    assert bytes(world.seen().body) == b'{"model":"set"'


@pytest.mark.parametrize("name", ["p1/rm", "rm"])
def test_case_39_peer(world: World, name: str) -> None:
    assert world.chat({"model": name, "x": 1}).status_code == 200
    assert world.seen_by_peer().json() == {"model": "rm", "x": 1}


def test_case_39_peer_by_form_and_query(world: World) -> None:
    assert transcribe(world, form("p1/rm")).status_code == 200
    assert bytes(world.seen_by_peer().body) == form("rm")
    world.client.get("/v1/audio/voices?a=1&model=p1%2Frm&b=%2F")
    assert world.seen_by_peer().target == "/v1/audio/voices?a=1&model=rm&b=%2F"


def test_case_40_filters_are_for_json(world: World) -> None:
    assert transcribe(world, form("set")).status_code == 200
    assert bytes(world.seen().body) == form("set")


def test_case_65_selector(world: World) -> None:
    assert world.chat({"model": "pick"}).status_code == 200
    assert world.seen().json() == {"model": "nick"}
