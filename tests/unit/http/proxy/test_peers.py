"""Requests for models of peers, down to the byte: between the proxy and a scripted server."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.unit.http.proxy.fakes import FakeManager, World, config_of
from tests.unit.http.upstream.scripted import OK, Peer, Script, Server, serving

CERTIFICATE = Path(__file__).parents[3] / "conformance/server/localhost.pem"

CONFIG = """
peers:
  p1:
    proxy: URL
    models: [rm, deep/rm]
    timeouts: {responseHeader: 1, connect: 1}
    filters: {setParams: {top_p: 0.5}, setParamsByID: {rm: {top_p: 0.1}}, stripParams: seed}
  pk: {proxy: URL, models: [keyed], apiKey: theirs}
"""


@asynccontextmanager
async def world(
    *scripts: Script, base: str = "", config: str = CONFIG
) -> AsyncIterator[tuple[World, Server]]:
    async with serving(*scripts) as server:
        w = World(FakeManager(), config.replace("URL", server.url + base))
        try:
            yield w, server
        finally:
            await w.proxy.aclose()


def answering(response: bytes, seen: list[tuple[bytes, dict[bytes, bytes], bytes]]) -> Script:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            seen.append((request.line, request.headers, request.body))
            await peer.send(response)

    return script


async def test_given_a_qualified_name_when_asked_then_the_peer_gets_its_own_and_its_filters() -> None:
    seen: list[tuple[bytes, dict[bytes, bytes], bytes]] = []
    async with world(answering(OK, seen), base="/base/") as (w, server):
        await w.post(b'{"model":"p1/deep/rm","seed":1,"x":1.0}', path="/v1/chat/completions")
        assert w.answer.status == 200
        await w.post(b'{"model":"rm"}', path="/v/chat/completions")
        await w.ask("GET", "/v1/audio/voices?model=p1%2Frm&x=%2F;&y=a+b")
        assert len(server.peers) == 1  # one connection for all
    lines = [line for line, _, _ in seen]
    assert lines == [
        b"POST /base/v1/chat/completions HTTP/1.1",
        b"POST /base/chat/completions HTTP/1.1",
        b"GET /base/v1/audio/voices?model=rm&y=a+b HTTP/1.1",
    ]
    assert seen[0][2] == b'{"model":"deep/rm","x":1.0,"top_p":0.5}'
    assert seen[1][2] == b'{"model":"rm","top_p":0.1}'
    assert seen[0][1][b"content-length"] == b"%d" % len(seen[0][2])


async def test_given_credentials_when_a_peer_has_a_key_then_only_that_goes() -> None:
    seen: list[tuple[bytes, dict[bytes, bytes], bytes]] = []
    async with world(answering(OK, seen)) as (w, _):
        await w.post(
            b'{"model":"keyed"}', authorization="Bearer mine", x_forwarded_for="1.2.3.4", forwarded="x"
        )
    headers = seen[0][1]
    assert (headers[b"authorization"], headers[b"x-api-key"]) == (b"Bearer theirs", b"theirs")
    assert not {b"x-forwarded-for", b"forwarded"} & set(headers)
    assert b"user-agent" not in headers


async def test_given_a_compressed_answer_when_relayed_then_its_bytes_are_the_peers() -> None:
    body = gzip.compress(b"x" * 10_000)
    response = b"HTTP/1.1 203 Own\r\nContent-Encoding: gzip\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
    response += b"Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with world(answering(response, [])) as (w, _):
        answer = await w.post(b'{"model":"rm"}', accept_encoding="gzip")
    assert (answer.status, answer.body, answer.complete) == (203, body, True)
    assert [value for name, value in answer.headers if name == b"set-cookie"] == [b"a", b"b"]
    assert answer.header(b"x-hop") is None
    assert answer.header(b"content-encoding") == b"gzip"


@pytest.mark.parametrize("response", [b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 304 Same\r\nETag: x\r\n\r\n"])
async def test_given_an_answer_without_a_body_when_relayed_then_it_ends(response: bytes) -> None:
    async with world(answering(response, [])) as (w, _):
        answer = await w.ask("GET", "/upstream/rm/x")
    assert (answer.body, answer.complete) == (b"", True)


async def test_given_an_upload_when_passed_to_a_peer_then_its_framing_stays() -> None:
    seen: list[tuple[bytes, dict[bytes, bytes], bytes]] = []
    upload = bytes(range(256)) * 1000
    pieces = [upload[start : start + 7000] for start in range(0, len(upload), 7000)]
    async with world(answering(OK, seen)) as (w, _):
        await w.ask("POST", "/upstream/rm/x", pieces, {"content-length": str(len(upload))})
        await w.ask("POST", "/upstream/rm/x", pieces, {"transfer-encoding": "chunked"})
    assert [body for _, _, body in seen] == [upload, upload]
    assert seen[0][1][b"content-length"] == b"%d" % len(upload)
    assert seen[1][1][b"transfer-encoding"] == b"chunked"


async def test_given_a_peer_that_does_not_answer_then_504() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with world(silent) as (w, server):
        answer = await w.post(b'{"model":"rm"}')
        with trio.fail_after(2):
            await server.peers[0].left.wait()
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (504, "peer_timeout")
    assert error["message"] == "peer proxy error: no answer within 1 s"
    assert answer.header(b"retry-after") is None


async def test_given_a_peer_that_takes_its_time_within_a_stream_then_it_may() -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await trio.sleep(1.2)  # longer than the limit for the head
        await peer.send(b"data: 2\n\n")
        peer.stream.socket.shutdown(trio.socket.SHUT_WR)

    async with world(slow) as (w, _):
        answer = await w.post(b'{"model":"rm"}')
    assert answer.body == b"data: 1\n\ndata: 2\n\n"
    assert answer.complete


@pytest.mark.parametrize(
    "response", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 20"]
)
async def test_given_a_peer_that_breaks_off_before_its_answer_then_502(response: bytes) -> None:
    async def broken(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    async with world(broken) as (w, _):
        answer = await w.post(b'{"model":"rm"}')
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (502, "peer_error")
    assert error["message"].startswith("peer proxy error: ")
    assert len(error["message"]) > len("peer proxy error: ")


async def test_given_a_peer_that_breaks_off_in_its_answer_then_the_answer_is_not_completed() -> None:
    async def broken(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")

    async with world(broken) as (w, _):
        answer = await w.post(b'{"model":"rm"}')
    assert (answer.status, answer.body, answer.complete) == (200, b"12345", False)


async def test_given_a_client_that_leaves_then_the_connection_to_the_peer_is_closed() -> None:
    asked = trio.Event()

    async def waiting(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.gone()

    async with world(waiting) as (w, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.post, b'{"model":"rm"}')
            await asked.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(2):
            await server.peers[0].left.wait()


async def test_given_another_configuration_of_a_peer_then_it_gets_a_connection_of_its_own() -> None:
    async with world(answering(OK, [])) as (w, server):
        await w.post(b'{"model":"rm"}')
        w.config = config_of(CONFIG.replace("URL", server.url).replace("connect: 1", "connect: 2"))
        await w.post(b'{"model":"rm"}')
        await w.post(b'{"model":"rm"}')
        assert len(server.peers) == 2
        with trio.fail_after(2):
            await server.peers[0].left.wait()


async def test_given_a_name_that_two_peers_offer_then_only_the_qualified_names_work() -> None:
    config = CONFIG.replace("models: [keyed]", "models: [keyed, rm]")
    async with world(answering(OK, []), config=config) as (w, _):
        assert (await w.post(b'{"model":"rm"}')).status == 404
        assert (await w.post(b'{"model":"p1/rm"}')).status == 200
        assert (await w.post(b'{"model":"pk/rm"}')).status == 200


@pytest.mark.parametrize("trusted", [True, False])
async def test_given_a_peer_over_tls_then_its_certificate_decides(
    trusted: bool, tls_peer: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = tls_peer
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    w = World(FakeManager(), CONFIG.replace("URL", url))
    try:
        answer = await w.post(b'{"model":"rm"}')
    finally:
        await w.proxy.aclose()
    if trusted:
        assert (answer.status, answer.body) == (200, b"ok")
    else:
        assert answer.status == 502
        assert "certificate verify failed" in json.loads(answer.body)["error"]["message"]


@pytest.fixture
async def tls_peer() -> AsyncIterator[tuple[str, Path]]:
    """A server that answers every request with "ok" over TLS, and its certificate for `localhost`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while await stream.receive_some(65536):
                await stream.send_all(OK)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        yield f"https://localhost:{port}", CERTIFICATE
        nursery.cancel_scope.cancel()
