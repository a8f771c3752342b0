"""/upstream/{model}/…: redirects, patterns that start nothing, and bodies that pass as they come."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.unit.http.proxy.test_proxy import Echo, world
from tests.unit.http.upstream.scripted import Peer

MB = 1024 * 1024


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_given_any_method_when_passed_through_then_path_and_query_are_the_clients(method: str) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    echo = Echo(response)
    async with world(echo, base="/base") as (w, _):
        answer = await w.ask(method, "/upstream/nick/api/x%2Fy?q=%20")
        assert (answer.status, answer.complete) == (200, True)
    assert echo.requests[0].line == f"{method} /base/api/x%2Fy?q=%20 HTTP/1.1".encode()


async def test_given_a_body_when_passed_through_then_it_is_neither_read_nor_edited() -> None:
    echo = Echo()
    body = b'{"model":"a/b"}'
    async with world(echo) as (w, _):
        for path in ("/upstream/a/b/v1/chat/completions", "/upstream/a%2Fb/v1/chat/completions"):
            await w.ask("POST", path, body, {"content-type": "application/json"})
    assert [request.body for request in echo.requests] == [body, body]


@pytest.mark.parametrize(
    ("method", "path", "accepted", "forwarded"),
    [
        ("POST", "/upstream/m1/v1/chat/completions", "br, gzip", b"gzip"),
        ("POST", "/upstream/m1/other", "br, gzip", b"br, gzip"),
        ("GET", "/upstream/m1/props", "br, gzip", b"br, gzip"),
    ],
)
async def test_given_encodings_when_passed_through_then_only_recorded_requests_lose_some(
    method: str, path: str, accepted: str, forwarded: bytes
) -> None:
    echo = Echo()
    async with world(echo) as (w, _):
        await w.ask(method, path, headers={"accept-encoding": accepted})
    assert echo.requests[0].headers[b"accept-encoding"] == forwarded


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/upstream/m1", 301, b"/upstream/m1/"),
        ("HEAD", "/upstream/m1?t=1", 301, b"/upstream/m1/?t=1"),
        ("POST", "/upstream/nick?t=1", 308, b"/upstream/nick/?t=1"),
        ("DELETE", "/upstream/a%2Fb", 308, b"/upstream/a/b/"),
    ],
)
async def test_given_a_bare_model_when_asked_then_the_client_is_sent_behind_the_slash(
    method: str, path: str, status: int, location: bytes
) -> None:
    async with world(Echo()) as (w, server):
        answer = await w.ask(method, path)
        assert (w.manager.granted, server.peers) == (0, [])
    assert (answer.status, answer.header(b"location")) == (status, location)


async def test_given_an_unknown_model_when_asked_then_there_is_none() -> None:
    async with world(Echo()) as (w, _):
        answer = await w.ask("GET", "/upstream/nope/x")
    assert (answer.status, json.loads(answer.body)["error"]["message"]) == (404, "model not found")


@pytest.mark.parametrize("path", ["app.js", "a/b.css", "favicon.ico", "x.json", "x%2Ejs"])
async def test_given_a_file_of_a_web_page_when_the_model_is_stopped_then_it_stays_so(path: str) -> None:
    async with world(Echo()) as (w, server):
        w.manager.ready = False
        answer = await w.ask("GET", f"/upstream/nick/{path}")
        assert (w.manager.asked, server.peers) == ([("m1", True, None)], [])
        assert answer.status == 409
        error = json.loads(answer.body)["error"]
        assert error["message"] == "model m1 is not loaded; path matches upstream.ignorePaths"
        assert error["code"] == "model_not_loaded"

        w.manager.ready = True
        assert (await w.ask("GET", f"/upstream/nick/{path}")).status == 200


@pytest.mark.parametrize("path", ["", "app.js/x", "v1/chat/completions", "xjs"])
async def test_given_any_other_path_when_the_model_is_stopped_then_it_is_started(path: str) -> None:
    async with world(Echo()) as (w, _):
        w.manager.ready = False
        w.manager.open()
        assert (await w.ask("GET", f"/upstream/m1/{path}")).status == 200
        assert w.manager.asked == [("m1", False, None)]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_given_a_large_upload_when_passed_through_then_framing_and_bytes_stay(
    framing: str,
) -> None:
    echo = Echo()
    body = random.Random(5).randbytes(8 * MB)
    pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    headers = {"content-length": str(len(body))} if framing == "length" else {"transfer-encoding": "chunked"}
    async with world(echo) as (w, _):
        answer = await w.ask("PUT", "/upstream/m1/file", pieces, headers)
        assert (answer.status, answer.body) == (200, b"ok")
    request = echo.requests[0]
    assert hashlib.sha256(request.body).digest() == hashlib.sha256(body).digest()
    assert (b"content-length" in request.headers) == (framing == "length")
    assert (b"transfer-encoding" in request.headers) == (framing == "chunked")


async def test_given_small_bodies_when_passed_through_then_one_connection_is_enough() -> None:
    echo = Echo()
    async with world(echo) as (w, server):
        for _ in range(3):
            await w.ask("POST", "/upstream/m1/x", [b"on", b"e"], {"content-length": "3"})
        assert len(server.peers) == 1
    assert [request.body for request in echo.requests] == [b"one"] * 3


async def test_given_http2_when_a_body_comes_without_headers_about_it_then_it_is_passed_on_all_the_same() -> (
    None
):
    echo = Echo()
    async with world(echo) as (w, _):
        await w.ask("POST", "/upstream/m1/x", [b"on", b"e"], http_version="2")
        await w.ask("GET", "/upstream/m1/x", [b""], http_version="2")
    assert [request.body for request in echo.requests] == [b"one", b""]


async def test_given_an_upload_when_the_upstream_answers_meanwhile_then_both_directions_go_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await heard.wait()
        rest = await peer.exactly(8 * MB)
        await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (64, hashlib.sha256(rest).hexdigest().encode()))
        await peer.gone()

    async def send(message: dict[str, object]) -> None:
        if message.get("body") == b"hello":
            heard.set()

    heard = trio.Event()
    body = random.Random(6).randbytes(8 * MB)
    async with world(script) as (w, _):
        headers = {"content-length": str(len(body))}
        answer = await w.ask("POST", "/upstream/m1/x", [body[: 5 * MB], body[5 * MB :]], headers, send=send)
    assert answer.body == b"hello" + hashlib.sha256(body).hexdigest().encode()


async def test_given_an_upload_when_the_upstream_refuses_it_then_the_answer_arrives() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.gone()

    async with world(script) as (w, _):
        headers = {"content-length": str(64 * MB)}
        answer = await w.ask("POST", "/upstream/m1/x", [bytes(MB)] * 64, headers)
    assert (answer.status, answer.body, answer.complete) == (413, b"big", True)


async def test_given_an_upload_when_the_client_leaves_then_upstream_and_lease_are_let_go() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    async with world(script) as (w, server):
        answer = await w.ask(
            "POST", "/upstream/m1/x", [b"half"], {"content-length": "70000"}, disconnect=True
        )
        assert (answer.status, w.manager.granted, w.manager.held) == (0, 1, [])
        with trio.fail_after(5):
            await server.peers[0].left.wait()


async def test_given_an_upload_when_its_model_is_loading_then_no_more_of_it_is_read_than_needed() -> None:
    async with world(Echo()) as (w, _), trio.open_nursery() as nursery:
        w.manager.ready = False
        headers = {"content-length": str(3 * MB)}
        nursery.start_soon(lambda: w.ask("PUT", "/upstream/m1/x", [bytes(MB)] * 3, headers))
        await wait_all_tasks_blocked(0.02)
        assert w.manager.granted == 0
        w.manager.open()
        await wait_all_tasks_blocked(0.05)
        assert w.answer.status == 200
