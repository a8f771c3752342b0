"""What a client is told when swapd itself answers with an error, on the wire of a real daemon."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from attrs import field, frozen

from swapd.testing.daemon import upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.setups import chat, config, error

pytestmark = pytest.mark.real

JSON = {"Content-Type": "application/json"}
FAILS_AT_ONCE = upstream_command(
    *("--stderr-line", "cannot find <the weights>", "--crash-after", "0", "--exit-code", "3")
)
SETUP = config(
    {"good": upstream_command(), "bad": FAILS_AT_ONCE}, maxRequestBody="1MiB", restart={"threshold": 9}
)


@frozen
class Case:
    """A request, and the error that it gets."""

    status: int
    code: str
    message: str
    content: bytes
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = field(factory=lambda: JSON)
    type: str = "invalid_request_error"


NO_MODEL = "no model id could be identified"
NO_ROUTER = "no router for requested model"
LARGE = b'{"model":"good","x":"%b"}' % (b"x" * 1_100_000)
CASES = {
    "a body without a model": Case(404, "not_found", NO_MODEL, b"{}"),
    "a model that is null": Case(404, "not_found", NO_MODEL, b'{"model":null}'),
    "a body that is no object": Case(404, "not_found", NO_MODEL, b'["good"]'),
    "a body that is no JSON": Case(404, "not_found", NO_MODEL, b"not json"),
    "an empty body": Case(404, "not_found", NO_MODEL, b""),
    "a body of another type": Case(
        404, "not_found", NO_MODEL, b'{"model":"good"}', headers={"Content-Type": "text/csv"}
    ),
    "multipart without a boundary": Case(
        404, "not_found", NO_MODEL, b"--x\r\n\r\n", headers={"Content-Type": "multipart/form-data"}
    ),
    "a model that is not there": Case(404, "not_found", NO_ROUTER, b'{"model":"nope"}'),
    "a model with a blank too many": Case(404, "not_found", NO_ROUTER, b'{"model":" good"}'),
    "a model that is not there, below /upstream": Case(
        404, "not_found", "model not found", b"", "/upstream/nope/x"
    ),
    "a model that is not there, to be unloaded": Case(
        404, "not_found", "model not found", b"", "/api/models/unload/nope"
    ),
    "a body that is too large": Case(
        413,
        "request_too_large",
        "the request body is larger than the 1048576 bytes that maxRequestBody allows",
        LARGE,
    ),
    "a model that does not start": Case(
        502,
        "upstream_start_failed",
        "upstream command exited prematurely: exit status 3\ncannot find <the weights>",
        b'{"model":"bad"}',
        type="server_error",
    ),
    "a model that is not ready, and may not be started for this": Case(
        409,
        "model_not_loaded",
        "model good is not loaded; path matches upstream.ignorePaths",
        b"",
        "/upstream/good/style.css",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_given_a_request_in_error_when_answered_then_in_the_format_the_client_accepts(
    daemon: StartDaemon, name: str
) -> None:
    case = CASES[name]
    swapd = await daemon(SETUP)
    async with swapd.client() as client:

        async def ask(**more: str) -> tuple[Any, dict[str, str]]:
            answer = await client.post(case.path, content=case.content, headers={**case.headers, **more})
            assert answer.status_code == case.status
            assert "retry-after" not in answer.headers
            return answer.content, dict(answer.headers)

        # When a request with an error is made by clients that accept different things
        for accept in ("*/*", "application/json", "image/png"):
            body, headers = await ask(Accept=accept)
            # Then it is JSON
            assert headers["content-type"] == "application/json"
            assert body == _envelope(case)
        # Or text for those who want text, HTML or not
        for accept in ("text/plain", "text/html, text/plain;q=0.5"):
            body, headers = await ask(Accept=accept)
            assert headers["content-type"] == "text/plain"
            assert body.decode() == f"swapd: {case.message}"
        # Or a page for browsers
        body, headers = await ask(Accept="text/html,application/xhtml+xml")
        assert headers["content-type"] == "text/html"
        escaped = case.message.replace("<", "&lt;").replace(">", "&gt;")
        assert body.decode() == f"<html><body><h1>swapd</h1><p>{escaped}</p></body></html>"
        # And the next model works
        assert (await client.post("/v1/chat/completions", json=chat("good"))).status_code == 200


def _envelope(case: Case) -> bytes:
    message = case.message.replace("\n", "\\n")
    return (
        f'{{"src":"swapd","error":{{"message":"{message}","type":"{case.type}","param":null,"code":"{case.code}"}}}}'
    ).encode()


@pytest.mark.parametrize(
    ("content", "status", "type"),
    [
        (b'{"model":"nope"}', 404, "not_found_error"),
        (LARGE, 413, "request_too_large"),
        (b'{"model":"bad"}', 502, "api_error"),
    ],
)
async def test_given_a_route_of_anthropic_when_it_fails_then_its_sdk_can_read_the_error(
    daemon: StartDaemon, content: bytes, status: int, type: str
) -> None:
    swapd = await daemon(SETUP)
    async with swapd.client() as client:
        answer = await client.post("/v1/messages", content=content, headers=JSON)
    body = answer.json()
    assert answer.status_code == status
    assert (body["type"], body["error"]["type"], body["src"]) == ("error", type, "swapd")
    assert body["request_id"].startswith("req_")


async def test_given_the_upstreams_own_errors_when_relayed_then_they_are_left_as_they_are(
    daemon: StartDaemon,
) -> None:
    swapd = await daemon(config({"good": upstream_command("--status", "422")}))
    async with swapd.client() as client:
        for accept in ("*/*", "text/plain", "text/html"):
            answer = await client.post("/v1/chat/completions", json=chat("good"), headers={"Accept": accept})
            assert answer.status_code == 422
            assert answer.json()["error"]["message"] == "status 422 as told"
            assert "src" not in answer.json()


async def test_given_a_model_at_its_limit_when_one_more_asks_then_it_is_told_to_come_back_in_json(
    daemon: StartDaemon,
) -> None:
    # Given a model that serves one request at a time, and serves one
    swapd = await daemon(config({"good": {"cmd": upstream_command("--hold"), "concurrencyLimit": 1}}))
    async with swapd.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: client.post("/v1/chat/completions", json=chat("good")))
        await swapd.printed(r"\[good\] starting → ready")
        # When one more asks
        answer = await client.post(
            "/v1/chat/completions", json=chat("good"), headers={"Accept": "text/plain"}
        )
        # Then it is refused at once, in JSON whatever it accepts
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.headers["content-type"] == "application/json"
        assert error(answer) == {
            "message": "Too many requests",
            "type": "rate_limit_error",
            "param": None,
            "code": "concurrency_limit",
        }
        async with swapd.upstream("good") as upstream:
            await upstream.release()


async def test_given_a_model_that_keeps_failing_when_asked_again_then_it_is_left_alone_for_a_while(
    daemon: StartDaemon,
) -> None:
    # Given a model that has failed three times in a row
    swapd = await daemon(config({"good": upstream_command(), "bad": FAILS_AT_ONCE}, restart={"base": "1h"}))
    async with swapd.client() as client:
        for _ in range(3):
            assert (await client.post("/v1/chat/completions", json=chat("bad"))).status_code == 502
        # When it is asked for again
        answer = await client.post("/v1/chat/completions", json=chat("bad"))
        # Then it is not started, and the client is told why and when to come back
        assert answer.status_code == 503
        assert 250 < int(answer.headers["retry-after"]) <= 330  # five minutes, more or less a tenth
        problem = error(answer)
        assert (problem["code"], problem["type"]) == ("crash_looping", "server_error")
        assert "exit status 3" in problem["message"]
        assert swapd.output.count("[bad] stopped → starting") == 3
        # And the next model works
        assert (await client.post("/v1/chat/completions", json=chat("good"))).status_code == 200
