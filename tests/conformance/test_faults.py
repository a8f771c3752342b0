"""Servers that fail, one way each: a clear error in bounded time, and the next model works."""

from __future__ import annotations

import httpx
import pytest
import trio

from swapd.testing.daemon import Daemon, upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.setups import asking, chat, config, connection, error, running

pytestmark = pytest.mark.real

STREAM = chat("bad", stream=True)
FLAKY = ("--exit-code", "7", "--stderr-line", "out of memory at layer 3")


async def ask(client: httpx.AsyncClient, model: str) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=chat(model))


async def next_model_works(client: httpx.AsyncClient) -> bool:
    return (await ask(client, "good")).status_code == 200


async def start(daemon: StartDaemon, bad: str) -> Daemon:
    """A daemon with a model that fails in its way, and one that does not."""
    return await daemon(config({"bad": bad, "good": upstream_command()}))


# --- before it is ready -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("no-server ${PORT}", "cannot run no-server: No such file or directory (not found in PATH)"),
        ("/no/such/server --port ${PORT}", "cannot run /no/such/server: No such file or directory"),
        ("/etc --port ${PORT}", "cannot run /etc: Is a directory"),
        ("/etc/passwd --port ${PORT}", "cannot run /etc/passwd: Permission denied"),
        (
            upstream_command("--crash-after", "0", *FLAKY),
            "upstream command exited prematurely: exit status 7\nout of memory at layer 3",
        ),
        (
            upstream_command("--load", "1h", "--crash-after", "50ms", *FLAKY),
            "upstream command exited prematurely: exit status 7\nout of memory at layer 3",
        ),
        (
            upstream_command("--crash-after", "0", "--exit-signal", "9"),
            "upstream command exited prematurely: killed by SIGKILL, possibly out of memory",
        ),
        ("sh -c 'exit 0' ${PORT}", "upstream command exited prematurely: exit status 0 "
            "(it must stay in the foreground as long as it serves)"),
    ],
)  # fmt: skip
async def test_given_a_server_that_does_not_start_when_asked_for_then_the_client_is_told_why(
    daemon: StartDaemon, command: str, expected: str
) -> None:
    # Given a model that cannot be started
    swapd = await start(daemon, command)
    async with swapd.client() as client:
        # When it is asked for
        answer = await ask(client, "bad")
        # Then the answer says why
        assert answer.status_code == 502
        assert error(answer) == {
            "message": expected,
            "type": "server_error",
            "param": None,
            "code": "upstream_start_failed",
        }
        # And it does not run, and the next model works
        assert await running(client) == []
        assert await next_model_works(client)


async def test_given_servers_that_never_become_ready_when_the_time_is_up_then_the_client_is_told_so(
    daemon: StartDaemon,
) -> None:
    # Given servers that run, but will not serve, and the shortest time limit there is
    servers = {
        "deaf": upstream_command("--never-listen", "--stderr-line", "still loading"),
        "dumb": upstream_command("--never-answer"),
        "busy": upstream_command("--load", "1h"),
    }
    group = {"members": [*servers], "swap": False}
    models = {**servers, "good": upstream_command()}
    swapd = await daemon(config(models, healthCheckTimeout=15, groups={"together": group}))
    messages: dict[str, str] = {}
    async with swapd.client() as client:

        async def wait_for(model: str) -> None:
            answer = await ask(client, model)
            assert answer.status_code == 504
            problem = error(answer)
            assert (problem["code"], problem["type"]) == ("start_timeout", "server_error")
            messages[model] = problem["message"]

        # When all of them are asked for
        async with trio.open_nursery() as nursery:
            for model in servers:
                nursery.start_soon(wait_for, model)
        # Then each client is told how far its server has come
        assert all(message.startswith("health check timed out after 15") for message in messages.values())
        assert "refused" in messages["deaf"]
        assert messages["deaf"].endswith("\nstill loading")
        assert "503" in messages["busy"]
        # And none of them runs on, and the next model works
        for model in servers:
            await swapd.printed(rf"\[{model}\] stopping → stopped")
        assert await running(client) == []
        assert swapd.processes == []
        assert await next_model_works(client)


# --- while it serves ----------------------------------------------------------------------------------


async def test_given_a_server_that_crashes_while_it_answers_when_no_head_was_sent_then_the_client_is_told_why(
    daemon: StartDaemon,
) -> None:
    # Given a server that dies of its first request
    swapd = await start(daemon, upstream_command("--crash-after-requests", "0", *FLAKY))
    async with swapd.client() as client:
        # When it is asked
        answer = await ask(client, "bad")
        # Then the answer has its last words
        assert answer.status_code == 502
        problem = error(answer)
        assert problem["code"] == "upstream_unreachable"
        assert problem["message"].startswith("upstream error: ")
        assert "exit status 7" in problem["message"]
        assert problem["message"].endswith("out of memory at layer 3")
        # And the next model works
        assert await next_model_works(client)


async def test_given_a_server_that_crashes_between_requests_when_asked_again_then_it_is_started_again(
    daemon: StartDaemon,
) -> None:
    # Given a server that dies after each second answer
    swapd = await start(daemon, upstream_command("--crash-after-requests", "2", *FLAKY))
    async with swapd.client() as client:
        # When it is asked five times, each time as soon as it may have died
        statuses = []
        for number in range(5):
            statuses.append((await ask(client, "bad")).status_code)
            if number % 2:
                await swapd.printed(rf"(\[bad\] ready → stopped[\s\S]*){{{number // 2 + 1}}}")
        # Then every request is answered
        assert statuses == [200] * 5
        assert swapd.output.count("[bad] stopped → starting") == 3
        assert await next_model_works(client)


@pytest.mark.parametrize("tokens", [0, 1, 5])
async def test_given_a_server_that_crashes_in_mid_stream_when_reading_then_the_transfer_breaks(
    daemon: StartDaemon, tokens: int
) -> None:
    # Given a server that dies in the middle of an answer
    swapd = await start(daemon, upstream_command("--crash-in-stream", str(tokens), *FLAKY))
    async with connection(swapd) as reader:
        # When it is asked to stream
        await reader.send(asking(STREAM))
        # Then what it has sent arrives, and no end
        assert (await reader.head()).status == 200
        got = await reader.rest()
        assert got.count(b'"delta": {"content": "') == tokens
        assert not got.endswith(b"0\r\n\r\n")
    async with swapd.client() as client:
        assert await next_model_works(client)


@pytest.mark.parametrize("health", ["error", "redirect", "hang", "reset"])
async def test_given_a_server_whose_health_check_fails_later_when_asked_then_it_serves_on(
    daemon: StartDaemon, health: str
) -> None:
    # Given a server that was ready once
    swapd = await start(daemon, upstream_command())
    async with swapd.client() as client:
        assert (await ask(client, "bad")).status_code == 200
        # When its health check fails from now on
        async with swapd.upstream("bad") as upstream:
            await upstream.set(health=health)
            # Then it is asked all the same: nobody looks any more
            assert (await ask(client, "bad")).status_code == 200
        assert await next_model_works(client)


async def test_given_a_server_that_is_slow_to_answer_when_the_head_does_not_come_then_the_client_is_told(
    daemon: StartDaemon,
) -> None:
    # Given a server that keeps a request waiting longer than the model's limit
    held = {"cmd": upstream_command("--hold"), "timeouts": {"responseHeader": 1}}
    swapd = await daemon(config({"bad": held, "good": upstream_command()}))
    async with swapd.client() as client:
        # When it is asked
        answer = await ask(client, "bad")
        # Then the client is told in time, the server has been told to stop, and the next model works
        assert answer.status_code == 504
        assert error(answer)["code"] == "upstream_timeout"
        async with swapd.upstream("bad") as upstream:
            [exchange] = await upstream.aborted(1)
            assert exchange["outcome"] == "aborted"
        assert await next_model_works(client)


@pytest.mark.parametrize(
    "flags",
    [
        ("--ignore-sigterm",),
        ("--fork", "plain"),
        ("--fork", "setsid", "--fork-hold-stdout", "--fork-ignore-sigterm"),
        ("--fork", "setpgrp", "--fork-hold-port"),
        ("--flood", "20MB"),
        ("--log-interval", "1ms"),
    ],
)
async def test_given_a_server_that_is_hard_to_stop_when_another_takes_its_place_then_nothing_of_it_is_left(
    daemon: StartDaemon, flags: tuple[str, ...]
) -> None:
    # Given a running server that is hard to stop
    bad = {"cmd": upstream_command(*flags), "unloadTimeout": 1}
    swapd = await daemon(config({"bad": bad, "good": upstream_command()}))
    async with swapd.client() as client:
        assert (await ask(client, "bad")).status_code == 200
        # When another model is asked for
        assert await next_model_works(client)
        # Then only that one runs, with one process
        assert await running(client) == [("good", "ready")]
        assert len(swapd.processes) == 1
