"""One line for each request, and who is named in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

from swapd.http.access_log import duration_text
from swapd.http.answers import answer
from swapd.http.client_address import TrustedProxies
from swapd.http.server.asgi import BodyTooLarge, ClientGone
from tests.unit.http.api.world import Answer, World, build_world, no_body, scope_of

LOCAL = ("127.0.0.1", 40000)


async def test_given_a_request_when_it_is_over_then_one_line_tells_of_it(world: World) -> None:
    await world.call("GET", "/running?x=1", {"User-Agent": "curl/8.5.0"})

    [line] = world.log_lines()
    assert re.fullmatch(
        r'\[INFO\] Request 192\.0\.2\.7 "GET /running HTTP/1\.1" 200 15 "curl/8\.5\.0" [\d.]+(µs|ms)', line
    )


@pytest.mark.parametrize(
    ("method", "target", "middle"),
    [
        ("POST", "/v1/chat/completions", '"POST /v1/chat/completions HTTP/1.1" 200 6 ""'),
        ("GET", "/upstream/a%2Fb/x", '"GET /upstream/a/b/x HTTP/1.1" 200 11 ""'),
        ("GET", "/nope", '"GET /nope HTTP/1.1" 404 19 ""'),
        ("HEAD", "/v1/models", '"HEAD /v1/models HTTP/1.1" 200 0 ""'),
        ("PUT", "/v1/models", '"PUT /v1/models HTTP/1.1" 405 19 ""'),
        ("GET", "/v1//models", '"GET /v1//models HTTP/1.1" 307 46 ""'),
        ("OPTIONS", "/x", '"OPTIONS /x HTTP/1.1" 204 0 ""'),
        ("POST", "/api/models/unload/nope", '"POST /api/models/unload/nope HTTP/1.1" 404 116 ""'),
    ],
)
async def test_given_every_kind_of_answer_when_sent_then_its_status_and_size_are_noted(
    world: World, method: str, target: str, middle: str
) -> None:
    answered = await world.call(method, target)

    [line] = world.log_lines()
    assert f" 192.0.2.7 {middle} " in line
    assert f" {answered.status} {len(answered.body)} " in line


@pytest.mark.parametrize(("version", "shown"), [("1.0", "HTTP/1.0"), ("1.1", "HTTP/1.1"), ("2", "HTTP/2.0")])
async def test_given_each_protocol_when_logged_then_it_has_two_numbers(
    world: World, version: str, shown: str
) -> None:
    await world.call("GET", "/running", http_version=version)

    assert f'"GET /running {shown}"' in world.log_lines()[0]


async def test_given_a_log_stream_when_it_ends_then_its_bytes_have_been_counted(world: World) -> None:
    world.logs.upstream("m1").write(b"12345")
    world.logs.end_streams()

    await world.get("/logs/stream/m1")

    assert '"GET /logs/stream/m1 HTTP/1.1" 200 5 ' in world.log_lines()[0]


@pytest.mark.parametrize(
    "path",
    [
        "/wol-health",
        "/api/performance",
        "/metrics",
        "/metrics/x",
        "/health",
        "/api/events",
        "/ui/",
        "/ui/x.js",
    ],
)
async def test_given_a_path_that_is_asked_for_all_the_time_when_asked_for_then_there_is_no_line(
    world: World, path: str
) -> None:
    await world.call("HEAD", path)  # a stream of events has no end

    assert world.log_lines() == []


async def test_given_a_skip_list_when_asked_for_then_only_its_paths_are_skipped() -> None:
    world = build_world("accessLog: {skip: [/running]}")

    await world.get("/running")
    await world.get("/health")

    assert len(world.log_lines()) == 1


async def test_given_the_access_log_is_off_when_asked_for_then_there_is_no_line() -> None:
    world = build_world("accessLog: {enabled: false}")

    await world.get("/running")

    assert world.log_lines() == []


async def test_given_control_characters_when_logged_then_no_line_can_be_forged(world: World) -> None:
    await world.call(
        "GET", "/x%0A[INFO]%20forged%1b[31m%22%20200", {"User-Agent": 'evil" 500 "\u0085\x1b\xe9'}
    )

    [line] = world.log_lines()
    assert '"GET /x\\x0a[INFO] forged\\x1b[31m\\x22 200 HTTP/1.1" 404 19 ' in line
    assert '"evil\\x22 500 \\x22\\x85\\x1b\\xe9"' in line.replace("\\x85", "\\x85")


async def test_given_an_answer_that_never_began_when_the_handler_returns_then_it_counts_as_200() -> None:
    world = build_world()
    world.app._models = _nothing

    await world.app(scope_of("POST", "/v1/chat/completions"), no_body, Answer().take)

    assert " 200 0 " in world.log_lines()[0]


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def test_given_a_client_that_left_before_the_answer_when_cancelled_then_the_line_says_499() -> None:
    world = build_world()
    world.app._models = _wait_for_ever

    with trio.CancelScope() as scope:
        scope.cancel()
        await world.app(scope_of("POST", "/v1/chat/completions"), no_body, Answer().take)

    assert scope.cancelled_caught
    assert " 499 0 " in world.log_lines()[0]


async def _wait_for_ever(scope: Any, receive: Any, send: Any) -> None:
    await trio.sleep_forever()


# --- when a part fails --------------------------------------------------------------------------------


async def test_given_a_part_that_fails_before_its_answer_when_asked_then_the_client_gets_a_500() -> None:
    world = build_world()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("a bug")

    world.app._models = broken

    answered = await world.call("POST", "/v1/chat/completions")

    assert answered.status == 500
    assert b'"code":"internal_error"' in answered.body
    assert b"a bug" not in answered.body
    lines = world.log_lines()
    assert lines[0] == "[ERROR] POST /v1/chat/completions failed: Traceback (most recent call last):"
    assert any("ZeroDivisionError: a bug" in line for line in lines)
    assert " 500 " in lines[-1]


async def test_given_a_part_that_fails_in_mid_answer_when_asked_then_the_connection_is_broken_off() -> None:
    world = build_world()
    aborted: list[bool] = []

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await answer(scope, send, 200, [], b"half")
        raise ZeroDivisionError("a bug")

    world.app._models = broken
    extensions = {"swapd.abort": lambda: aborted.append(True)}

    answered = await world.call("POST", "/v1/chat/completions", extensions=extensions)

    assert (answered.status, aborted) == (200, [True])


async def test_given_a_body_that_is_too_large_when_read_then_the_client_gets_a_413_and_the_log_no_error() -> (
    None
):
    world = build_world()

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        raise BodyTooLarge

    world.app._models = reading

    answered = await world.call("POST", "/v1/chat/completions")

    assert answered.status == 413
    assert b'"code":"request_too_large"' in answered.body
    assert len(world.log_lines()) == 1


async def test_given_a_client_that_went_while_it_was_sent_to_when_noticed_then_nothing_is_an_error() -> None:
    world = build_world()

    async def sending(scope: Any, receive: Any, send: Any) -> None:
        raise ClientGone

    world.app._models = sending

    await world.app(scope_of("POST", "/v1/chat/completions"), no_body, Answer().take)

    assert len(world.log_lines()) == 1


# --- WebSockets ---------------------------------------------------------------------------------------


def websocket_scope(target: str, **more: Any) -> dict[str, Any]:
    scope = scope_of("GET", target, type="websocket", scheme="ws", subprotocols=[], **more)
    del scope["method"]
    return scope


async def test_given_a_websocket_below_upstream_when_opened_then_it_is_passed_through() -> None:
    world = build_world()
    seen: list[str] = []

    async def bridge(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        scope["swapd.record"].status = 101

    world.app._passthrough = bridge

    await world.app(websocket_scope("/upstream/m1/ws"), no_body, Answer().take)

    assert seen == ["websocket"]
    assert '"GET /upstream/m1/ws HTTP/1.1" 101 0 ' in world.log_lines()[0]


async def test_given_a_websocket_elsewhere_when_opened_then_it_is_not_found(world: World) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await world.app(websocket_scope("/ws", extensions={"websocket.http.response": {}}), no_body, send)
    await world.app(websocket_scope("/ws"), no_body, send)

    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
        "websocket.close",
    ]
    assert sent[0]["status"] == 404
    assert all(" 404 " in line for line in world.log_lines())


# --- whose address ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "headers", "ip"),
    [
        (LOCAL, {}, "127.0.0.1"),
        (LOCAL, {"X-Forwarded-For": " 203.0.113.9 , 10.0.0.1"}, "203.0.113.9"),
        (LOCAL, {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.8"}, "203.0.113.9"),
        (LOCAL, {"X-Forwarded-For": " , 10.0.0.1", "X-Real-IP": "203.0.113.8"}, "203.0.113.8"),
        (LOCAL, {"X-Real-IP": "203.0.113.8"}, "203.0.113.8"),
        (("::1", 1, 0, 0), {"X-Real-IP": "203.0.113.8"}, "203.0.113.8"),
        (("::ffff:127.0.0.1", 1, 0, 0), {"X-Real-IP": "203.0.113.8"}, "203.0.113.8"),
        (None, {"X-Real-IP": "203.0.113.8"}, "203.0.113.8"),
        (None, {}, "unix"),
        (("", 0), {}, "unix"),
        (("192.0.2.7", 1), {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.8"}, "192.0.2.7"),
        (("not an address", 1), {"X-Real-IP": "203.0.113.8"}, "not an address"),
        (LOCAL, {"X-Forwarded-For": "1.2.3.4\x1b[2J"}, "1.2.3.4\\x1b[2J"),
    ],
)
async def test_given_forwarding_headers_when_logged_then_only_trusted_proxies_are_believed(
    client: tuple[Any, ...] | None, headers: dict[str, str], ip: str
) -> None:
    world = build_world()

    await world.call("GET", "/running", headers, client=client)

    assert world.log_lines()[0].startswith(f'[INFO] Request {ip} "GET ')


def test_given_networks_when_asked_then_their_members_are_trusted_and_nobody_else() -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])

    trusted = ["10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1", ""]
    assert [peer for peer in [*trusted, "127.0.0.1", "192.0.2.8", "::1"] if proxies.trusts(peer)] == trusted


def test_given_a_great_many_peers_when_asked_then_not_all_are_remembered() -> None:
    proxies = TrustedProxies()

    for number in range(5000):
        assert not proxies.trusts(f"10.0.{number // 256}.{number % 256}")

    assert len(proxies._known) <= 1024


async def test_given_a_list_of_trusted_proxies_when_logged_then_only_they_are_believed() -> None:
    world = build_world("trustedProxies: [192.0.2.0/24]")

    await world.call("GET", "/running", {"X-Real-IP": "203.0.113.8"}, client=("192.0.2.7", 1))
    await world.call("GET", "/running", {"X-Real-IP": "203.0.113.8"}, client=LOCAL)

    assert [line.split()[2] for line in world.log_lines()] == ["203.0.113.8", "127.0.0.1"]


async def test_given_a_repeated_header_when_logged_then_the_first_counts(world: World) -> None:
    scope = scope_of("GET", "/running", client=LOCAL)
    scope["headers"] = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-for", b"203.0.113.10")]

    await world.app(scope, no_body, Answer().take)

    assert " 203.0.113.9 " in world.log_lines()[0]


# --- durations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000005, "0µs"),
        (0.000087, "87µs"),
        (0.0009994, "999µs"),
        (0.001, "1ms"),
        (0.01236, "12.4ms"),
        (0.0994, "99.4ms"),
        (0.0999, "99.9ms"),
        (0.09996, "100ms"),
        (0.1234, "123ms"),
        (0.9996, "1.00s"),
        (3.207, "3.21s"),
        (59.99, "59.99s"),
        (59.999, "1m0.0s"),
        (125.3, "2m5.3s"),
        (3599.99, "1h0m0s"),
        (7325, "2h2m5s"),
    ],
)
def test_given_a_duration_when_written_then_it_is_short_and_exact_enough(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
