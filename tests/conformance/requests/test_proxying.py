"""Conformance cases 50 to 58: headers, streams, failures, error formats."""

from __future__ import annotations

import json
import socket
import threading

import httpx
import pytest

from tests.conformance.requests.world import World


def test_case_50_forwarding_headers(world: World) -> None:
    sent = {
        "Host": "swapd.lan",
        "X-Forwarded-For": "203.0.113.1",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=x",
    }
    world.client.post("/v1/chat/completions", json={"model": "m1"}, headers=sent)
    seen = world.seen()
    assert seen.header("host") == "swapd.lan"
    assert seen.header("x-forwarded-for") == "203.0.113.1, 127.0.0.1"
    assert seen.header("x-forwarded-proto") == "https"
    world.client.post("/v1/chat/completions", json={"model": "rm"}, headers=sent)
    peer = world.seen_by_peer()
    assert peer.header("host") == httpx.URL(world.peer.url).netloc.decode()
    assert [name for name, _ in peer.headers if name.lower().startswith(("x-forwarded", "forwarded"))] == []


@pytest.mark.parametrize("model", ["m1", "rm"])
def test_case_51_hop_by_hop_headers_stay(world: World, model: str) -> None:
    dropped = {"X-Drop": "1", "Keep-Alive": "5", "Proxy-Authorization": "x", "X-Keep": "1"}
    world.client.post(
        "/v1/chat/completions", json={"model": model}, headers={"Connection": "X-Drop", **dropped}
    )
    seen = world.seen() if model == "m1" else world.seen_by_peer()
    names = {name.lower() for name, _ in seen.headers}
    assert not names & {"x-drop", "keep-alive", "proxy-authorization"}
    assert "x-keep" in names


@pytest.mark.parametrize("model", ["m1", "rm"])
def test_case_52_events_come_one_by_one(world: World, model: str) -> None:
    behind = world.upstream if model == "m1" else world.peer

    async def hold_after_one() -> None:
        behind.set(hold=True, hold_after=1)

    async def release() -> None:
        behind.release()

    world.in_daemon(hold_after_one)
    try:
        body = {"model": model, "stream": True}
        with world.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers["x-accel-buffering"] == "no"
            chunks = answer.iter_raw()
            first = next(chunks)
            while b"content" not in first:
                first += next(chunks)
            world.in_daemon(release)
            rest = b"".join(chunks)
        assert rest.endswith(b"data: [DONE]\n\n")
    finally:
        world.in_daemon(release)
    assert "x-accel-buffering" not in world.chat({"model": model}).headers


def test_case_53_encodings_that_can_be_read(world: World) -> None:
    world.chat({"model": "m1"}, accept_encoding="br, gzip;q=0.5")
    assert world.seen().header("accept-encoding") == "gzip;q=0.5"


@pytest.mark.parametrize("model", ["m1", "rm"])
def test_case_54_client_leaves(world: World, model: str) -> None:
    behind = world.upstream if model == "m1" else world.peer
    aborted = len(behind.state.aborted)

    async def slow() -> None:
        behind.set(tokens=1000, tps=50)

    async def normal() -> None:
        behind.set(tokens=16, tps=0)

    async def wait() -> None:
        await behind.aborted(aborted + 1)

    world.in_daemon(slow)
    try:
        with world.client.stream(
            "POST", "/v1/chat/completions", json={"model": model, "stream": True}
        ) as answer:
            next(answer.iter_raw())
        world.in_daemon(wait)
    finally:
        world.in_daemon(normal)


def test_case_55_an_upstreams_error_passes(world: World) -> None:
    direct = httpx.post(world.upstream.url + "/test/status/422?reason=why", trust_env=False)
    passed = world.client.post("/upstream/m1/test/status/422?reason=why")
    assert (passed.status_code, passed.content) == (422, direct.content)


def test_case_56_too_many(world: World) -> None:
    async def hold() -> None:
        world.upstream.hold()

    async def arrived(count: int) -> None:
        await world.upstream.received(count)

    async def release() -> None:
        world.upstream.release()

    world.chat({"model": "m1"})
    before = len(world.upstream.requests)
    world.in_daemon(hold)
    statuses: list[int] = []
    try:
        with httpx.Client(base_url=world.url, timeout=30, trust_env=False) as client:

            def ask() -> None:
                statuses.append(client.post("/v1/chat/completions", json={"model": "m1"}).status_code)

            threads = [threading.Thread(target=ask) for _ in range(10)]
            for thread in threads:
                thread.start()
            world.in_daemon(arrived, before + 10)
            refused = world.chat({"model": "m1"}, accept="text/plain")
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert refused.json()["error"]["code"] == "concurrency_limit"
            world.in_daemon(release)
            for thread in threads:
                thread.join()
    finally:
        world.in_daemon(release)
    assert statuses == [200] * 10


def test_case_57_a_model_that_does_not_start(world: World) -> None:
    answer = world.chat({"model": "off"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "upstream_start_failed")
    assert "exit status 1" in error["message"]
    assert "no such weights" in error["message"]
    assert "retry-after" not in answer.headers


def test_case_57_a_dead_peer(world: World) -> None:
    answer = world.chat({"model": "dead/gone"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "peer_error")
    assert error["message"].startswith("peer proxy error: ")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("model", ["m1", "p1/rm"])
def test_case_57_a_truncated_answer_breaks_the_transfer(world: World, model: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        world.client.get(f"/upstream/{model}/test/truncated")


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("text/plain", "text/plain", "swapd: no router for requested model"),
        (
            "text/html",
            "text/html",
            "<html><body><h1>swapd</h1><p>no router for requested model</p></body></html>",
        ),
        ("text/html, text/plain", "text/plain", "swapd: no router for requested model"),
    ],
)
def test_case_58_error_formats(world: World, accept: str, content_type: str, body: str) -> None:
    answer = world.chat({"model": "zzz"}, accept=accept)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (404, content_type, body)


def test_request_ids(world: World) -> None:
    given = world.chat({"model": "m1"}, x_request_id="abc.1:2-3_4")
    assert given.headers["x-request-id"] == world.seen().header("x-request-id") == "abc.1:2-3_4"
    made = world.chat({"model": "m1"}, x_request_id="not\tharmless")
    assert made.headers["x-request-id"] == world.seen().header("x-request-id")
    assert made.headers["x-request-id"].startswith("req_")
    error = world.client.post("/v1/messages", json={"model": "zzz"}, headers={"x-request-id": "e1"})
    assert error.json()["request_id"] == error.headers["x-request-id"] == "e1"
    assert error.json()["error"]["type"] == "not_found_error"


def test_trace_context_passes_unchanged(world: World) -> None:
    trace = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1,b=2",
    }
    for model, seen in (("m1", world.seen), ("rm", world.seen_by_peer)):
        world.chat({"model": model}, **trace)
        assert {name: seen().header(name) for name in trace} == trace


@pytest.mark.parametrize("model", ["m1", "p1/rm"])
def test_large_answers_and_uploads_are_exact(world: World, model: str) -> None:
    from hashlib import sha256

    from swapd.testing.upstream.plain import reproducible_sha256

    for query in ("", "?length=1"):
        size = 3_000_001
        digest = sha256()
        with world.client.stream("GET", f"/upstream/{model}/test/bytes/{size}{query}") as answer:
            for piece in answer.iter_raw():
                digest.update(piece)
        assert digest.hexdigest() == reproducible_sha256(size)
    upload = bytes(range(256)) * 4000
    for content in (upload, (upload[start : start + 5000] for start in range(0, len(upload), 5000))):
        echoed = world.client.post(f"/upstream/{model}/test/echo", content=content).json()
        assert (echoed["body_length"], echoed["body_sha256"]) == (len(upload), sha256(upload).hexdigest())


def raw(world: World, data: bytes) -> bytes:
    with socket.create_connection(world.address, timeout=10) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def test_an_upload_that_breaks_off_reaches_no_model(world: World) -> None:
    before = len(world.upstream.requests)
    with socket.create_connection(world.address, timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"model":"m1"'
        )
    assert world.chat({"model": "m1"}).status_code == 200
    assert len(world.upstream.requests) == before + 1


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: gzip, chunked, identity\r\n",
    ],
)
def test_ambiguous_framing_is_refused_and_the_connection_closed(world: World, framing: bytes) -> None:
    before = len(world.upstream.requests)
    answer = raw(
        world, b"POST /upstream/m1/x HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n0\r\n\r\nGET /health"
    )
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ", b"HTTP/1.1 501 "))
    assert answer.count(b"\r\n\r\n") == 1
    assert len(world.upstream.requests) == before


def test_error_envelope(world: World) -> None:
    answer = world.chat({"model": "zzz"})
    assert json.loads(answer.content) == {
        "src": "swapd",
        "error": {
            "message": "no router for requested model",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        },
    }
