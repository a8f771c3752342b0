"""The resources of the control API, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from swapd.http.api.control import Phase, Readiness
from swapd.nursery.states import ModelState
from tests.unit.http.api.world import CONFIG, NOW, Answer, World, build_world, no_body, scope_of

OK = {"content-type": "text/plain; charset=utf-8", "content-length": "2"}


def parsed(answer: Answer) -> Any:
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body.endswith(b"\n")
    assert json.dumps(json.loads(answer.body), separators=(",", ":"), ensure_ascii=False).encode() == (
        answer.body.rstrip(b"\n")
    ), "JSON is compact"
    return json.loads(answer.body)


# --- health, version ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/wol-health"])
async def test_given_a_daemon_when_its_health_is_asked_for_then_it_says_ok_without_a_line_feed(
    world: World, path: str
) -> None:
    answer = await world.get(path)

    assert (answer.status, answer.body, answer.headers) == (200, b"OK", OK)


async def test_given_a_build_when_its_version_is_asked_for_then_all_three_are_strings(world: World) -> None:
    answer = await world.get("/api/version")

    assert parsed(answer) == {"build_date": "today", "commit": "abc", "version": "1.2.3"}


# --- /running -----------------------------------------------------------------------------------------


async def test_given_nothing_running_when_asked_then_the_list_is_empty(world: World) -> None:
    world.manager.states = {"m1": ModelState.STOPPED, "a/b": ModelState.SHUTDOWN}

    assert (await world.get("/running")).body == b'{"running":[]}\n'


async def test_given_models_with_a_process_when_asked_then_each_has_an_entry_in_byte_order(
    world: World,
) -> None:
    world.manager.states = {
        "m1": ModelState.READY,
        "cap": ModelState.STOPPED,
        "a/b": ModelState.STARTING,
        "hid": ModelState.STOPPING,
    }

    running = parsed(await world.get("/running"))["running"]

    assert [entry["model"] for entry in running] == ["a/b", "hid", "m1"]
    assert [entry["state"] for entry in running] == ["starting", "stopping", "ready"]
    assert list(running[2].items()) == [
        ("model", "m1"),
        ("state", "ready"),
        ("cmd", "serve m1"),
        ("proxy", "http://127.0.0.1:5801"),
        ("ttl", 300),
        ("name", "Model One"),
        ("description", ""),
    ]


async def test_given_a_manager_that_still_has_a_removed_model_when_asked_then_it_is_left_out(
    world: World,
) -> None:
    world.manager.states = {"gone": ModelState.STOPPING}

    assert parsed(await world.get("/running")) == {"running": []}


# --- unload -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "unloaded"),
    [
        ("GET", "/unload", b"OK", None),
        ("HEAD", "/unload", b"", None),
        ("POST", "/api/models/unload", b'{"msg":"ok"}\n', None),
        ("POST", "/api/models/unload?drain=1", b'{"msg":"ok"}\n', None),
        ("POST", "/api/models/unload/m1", b"OK", ["m1"]),
        ("POST", "/api/models/unload/nick", b"OK", ["m1"]),
        ("POST", "/api/models/unload/a/b", b"OK", ["a/b"]),
        ("POST", "/api/models/unload/a%2Fb", b"OK", ["a/b"]),
        ("POST", "/api/models/unload/%6d1", b"OK", ["m1"]),
        ("POST", "/api/models/unload/hid", b"OK", ["hid"]),
    ],
)
async def test_given_each_way_to_unload_when_used_then_the_models_meant_are_stopped(
    world: World, method: str, path: str, body: bytes, unloaded: list[str] | None
) -> None:
    answer = await world.call(method, path)

    assert (answer.status, answer.body) == (200, body)
    assert world.manager.unloaded == [unloaded]


@pytest.mark.parametrize("name", ["nope", "", "m1/", "a%252Fb", "M1", "m1%0A", "caf%E9"])
async def test_given_an_unknown_model_when_unloaded_then_it_is_not_found_and_nothing_stops(
    world: World, name: str
) -> None:
    answer = await world.call("POST", f"/api/models/unload/{name}")

    assert answer.status == 404
    assert json.loads(answer.body) == {
        "src": "swapd",
        "error": {
            "message": "model not found",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_found",
        },
    }
    assert not world.manager.unloaded


async def test_given_a_client_that_wants_text_when_it_errs_then_it_gets_text(world: World) -> None:
    answer = await world.call("POST", "/api/models/unload/nope", {"Accept": "text/plain"})

    assert (answer.status, answer.body) == (404, b"swapd: model not found")


async def test_given_models_that_take_their_time_when_unloaded_then_the_answer_waits_for_them(
    world: World,
) -> None:
    world.manager.may_finish = trio.Event()
    answers: list[Answer] = []

    async def unload() -> None:
        answers.append(await world.get("/unload"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unload)
        await trio.testing.wait_all_tasks_blocked()
        assert not answers
        world.manager.may_finish.set()

    assert answers[0].body == b"OK"


# --- /v1/models ---------------------------------------------------------------------------------------


async def test_given_the_models_when_listed_then_the_listed_ones_come_sorted(world: World) -> None:
    listing = parsed(await world.get("/v1/models"))

    assert list(listing) == ["data", "object"]
    assert listing["object"] == "list"
    assert [record["id"] for record in listing["data"]] == ["a/b", "cap", "m1"]


async def test_given_a_plain_model_when_listed_then_its_record_has_the_fields_in_order(world: World) -> None:
    records = {record["id"]: record for record in parsed(await world.get("/v1/models"))["data"]}

    assert list(records["m1"].items()) == [
        ("id", "m1"),
        ("object", "model"),
        ("created", int(NOW)),
        ("owned_by", "swapd"),
        ("name", "Model One"),
        ("meta", {"llamaswap": {"type": "model", "aliases": ["nick"]}}),
        ("status", {"value": "unloaded"}),
    ]
    assert records["a/b"]["meta"] == {"llamaswap": {"type": "model"}}


async def test_given_a_model_that_states_what_it_can_when_listed_then_clients_see_it(world: World) -> None:
    records = {record["id"]: record for record in parsed(await world.get("/v1/models"))["data"]}

    assert list(records["cap"].items()) == [
        ("id", "cap"),
        ("object", "model"),
        ("created", int(NOW)),
        ("owned_by", "swapd"),
        (
            "architecture",
            {
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "modality": "text+image->text",
            },
        ),
        ("capabilities", {"vision": True, "function_calling": True}),
        ("supported_parameters", ["tools", "tool_choice"]),
        ("context_length", 4096),
        ("meta", {"llamaswap": {"type": "model"}, "n_ctx": 4096}),
        ("status", {"value": "unloaded"}),
    ]


@pytest.mark.parametrize(
    ("capabilities", "fields"),
    [
        (
            "{in: [image]}",
            {"architecture": {"input_modalities": ["image"]}, "capabilities": {"vision": True}},
        ),
        ("{out: [text]}", {"architecture": {"output_modalities": ["text"]}}),
        ("{reranker: true}", {"capabilities": {"reranker": True}}),
        (
            "{in: [audio], out: [text]}",
            {
                "architecture": {
                    "input_modalities": ["audio"],
                    "output_modalities": ["text"],
                    "modality": "audio->text",
                },
                "capabilities": {"audio_transcriptions": True},
            },
        ),
        (
            "{in: [text, image], out: [audio, image]}",
            {
                "architecture": {
                    "input_modalities": ["text", "image"],
                    "output_modalities": ["audio", "image"],
                    "modality": "text+image->audio+image",
                },
                "capabilities": {
                    "vision": True,
                    "audio_speech": True,
                    "image_generation": True,
                    "image_to_image": True,
                },
            },
        ),
        ("{}", {}),
    ],
)
async def test_given_capabilities_when_listed_then_only_what_is_true_and_known_appears(
    capabilities: str, fields: dict[str, Any]
) -> None:
    world = build_world(f"models: {{m: {{cmd: s, proxy: 'http://h:1', capabilities: {capabilities}}}}}")

    [record] = parsed(await world.get("/v1/models"))["data"]

    shown = {"architecture", "capabilities", "supported_parameters", "context_length"} & set(record)
    assert {name: record[name] for name in shown} == fields


@pytest.mark.parametrize(
    ("state", "value"),
    [
        (ModelState.READY, "loaded"),
        (ModelState.STARTING, "loaded"),
        (ModelState.STOPPING, "loaded"),
        (ModelState.STOPPED, "unloaded"),
        (ModelState.SHUTDOWN, "unloaded"),
    ],
)
async def test_given_each_state_when_listed_then_the_status_says_whether_it_is_loaded(
    world: World, state: ModelState, value: str
) -> None:
    world.manager.states = {"m1": state}

    records = {record["id"]: record for record in parsed(await world.get("/v1/models"))["data"]}

    assert records["m1"]["status"] == {"value": value}


async def test_given_aliases_are_wanted_when_listed_then_each_is_a_record_of_its_own() -> None:
    world = build_world(
        "includeAliasesInList: true\n" + CONFIG.replace("unlisted: true", "aliases: [hi, zz]")
    )
    world.manager.states = {"m1": ModelState.READY}

    records = {record["id"]: record for record in parsed(await world.get("/v1/models"))["data"]}

    assert list(records) == ["a/b", "cap", "hi", "hid", "m1", "nick", "zz"]
    assert records["nick"]["meta"] == {"llamaswap": {"type": "alias", "modelID": "m1"}}
    assert records["nick"]["name"] == "Model One"
    assert records["nick"]["status"] == {"value": "loaded"}


async def test_given_an_unlisted_model_with_aliases_when_aliases_are_wanted_then_they_are_left_out_too() -> (
    None
):
    world = build_world(
        "includeAliasesInList: true\nmodels: {m: {cmd: s, proxy: 'http://h:1', unlisted: true, aliases: [a]}}"
    )

    assert parsed(await world.get("/v1/models"))["data"] == []


async def test_given_metadata_when_listed_then_it_is_under_llamaswap_and_the_type_is_ours() -> None:
    world = build_world(
        "models: {m: {cmd: s, proxy: 'http://h:1', metadata: {type: mine, size: 7, nested: {k: [1, 2.5]}, "
        "architecture: x}}}"
    )

    [record] = parsed(await world.get("/v1/models"))["data"]

    assert record["meta"]["llamaswap"] == {
        "type": "model",
        "size": 7,
        "nested": {"k": [1, 2.5]},
        "architecture": "x",
    }
    assert "architecture" not in record


async def test_given_stated_capabilities_when_listed_then_metadata_of_the_same_names_is_dropped() -> None:
    world = build_world(
        "models: {m: {cmd: s, proxy: 'http://h:1', capabilities: {tools: true}, metadata: {architecture: x, "
        "capabilities: x, supported_parameters: x, context_length: x, kept: x}}}"
    )

    [record] = parsed(await world.get("/v1/models"))["data"]

    assert record["meta"]["llamaswap"] == {"type": "model", "kept": "x"}


async def test_given_a_page_elsewhere_when_it_lists_the_models_then_its_origin_is_allowed(
    world: World,
) -> None:
    answer = await world.get("/v1/models", {"Origin": "http://x"})

    assert answer.headers["access-control-allow-origin"] == "http://x"
    assert "access-control-allow-origin" not in (await world.get("/v1/models")).headers


async def test_given_the_short_path_when_listed_then_the_body_is_the_same(world: World) -> None:
    assert (await world.get("/models")).body == (await world.get("/v1/models")).body


# --- /logs --------------------------------------------------------------------------------------------


async def test_given_lines_when_the_log_is_fetched_then_the_combined_history_comes_as_text(
    world: World,
) -> None:
    world.logs.proxy.info("hello")
    world.logs.upstream("m1").write(b"not in the combined log by default\n")

    answer = await world.get("/logs")

    assert (answer.status, answer.body) == (200, b"[INFO] hello\n")
    assert answer.headers["content-type"] == "text/plain"


async def test_given_a_browser_when_it_opens_the_log_then_it_is_sent_to_the_user_interface(
    world: World,
) -> None:
    answer = await world.get("/logs", {"Accept": "application/xml, text/html;q=0.9"})

    assert (answer.status, answer.headers["location"]) == (302, "/ui/")


class Following:
    """A client that follows a log stream in a nursery."""

    def __init__(self, world: World, target: str, nursery: trio.Nursery) -> None:
        self.answer = Answer()
        self._scope = trio.CancelScope()
        nursery.start_soon(self._run, world, target)

    async def _run(self, world: World, target: str) -> None:
        with self._scope:
            await world.app(scope_of("GET", target), no_body, self.answer.take)

    async def seen(self) -> bytes:
        await trio.testing.wait_all_tasks_blocked()
        return self.answer.body

    def leave(self) -> None:
        self._scope.cancel()


@pytest.mark.parametrize(
    ("path", "history"),
    [
        ("", b"[INFO] daemon\n"),
        ("/", b"[INFO] daemon\n"),
        ("/proxy", b"[INFO] daemon\n"),
        ("/upstream", b"m1 says\nab says\n"),
        ("/m1", b"m1 says\n"),
        ("/nick", b"m1 says\n"),
        ("/a/b", b"ab says\n"),
        ("/a%2Fb", b"ab says\n"),
        ("/a/b/more", b"ab says\n"),
    ],
)
async def test_given_each_source_when_followed_then_its_history_comes_first(
    world: World, path: str, history: bytes
) -> None:
    world.logs.proxy.info("daemon")
    world.logs.upstream("m1").write(b"m1 says\n")
    world.logs.upstream("a/b").write(b"ab says\n")

    async with trio.open_nursery() as nursery:
        client = Following(world, f"/logs/stream{path}", nursery)
        assert await client.seen() == history
        client.leave()

    assert client.answer.headers == {
        "content-type": "text/plain",
        "x-content-type-options": "nosniff",
        "x-accel-buffering": "no",
    }


@pytest.mark.parametrize("query", ["no-history", "no-history=0", "x=1&no-history="])
async def test_given_no_history_wanted_when_followed_then_only_what_is_new_comes(
    world: World, query: str
) -> None:
    world.logs.upstream("a/b").write(b"old\n")

    async with trio.open_nursery() as nursery:
        client = Following(world, f"/logs/stream/a/b?{query}", nursery)
        assert await client.seen() == b""
        assert client.answer.status == 200, "the head comes at once"
        world.logs.upstream("a/b").write(b"new\n")
        assert await client.seen() == b"new\n"
        client.leave()


async def test_given_a_follower_when_the_daemon_stops_then_its_answer_ends_properly(world: World) -> None:
    async with trio.open_nursery() as nursery:
        client = Following(world, "/logs/stream", nursery)
        await client.seen()
        world.logs.proxy.info("last words")
        world.logs.end_streams()

    assert client.answer.body == b"[INFO] last words\n"
    assert client.answer.complete


async def test_given_a_follower_that_does_not_read_when_the_daemon_stops_then_it_waits_a_second_at_most(
    world: World, autojump_clock: trio.testing.MockClock
) -> None:
    answer = Answer()

    async def send(message: Any) -> None:
        if message.get("body"):
            await trio.sleep_forever()
        await answer.take(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.app, scope_of("GET", "/logs/stream/m1"), no_body, send)
        await trio.testing.wait_all_tasks_blocked()
        world.logs.upstream("m1").write(b"never taken\n")
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        world.logs.end_streams()

    assert trio.current_time() - begun == 1.0
    assert not answer.complete, "a connection that ends without the end of its body is broken"


async def test_given_a_follower_when_it_leaves_then_the_ring_forgets_it(world: World) -> None:
    async with trio.open_nursery() as nursery:
        client = Following(world, "/logs/stream/m1", nursery)
        await client.seen()
        client.leave()

    assert not world.logs.upstream("m1")._subscriptions


async def test_given_a_client_that_does_not_read_when_a_model_floods_then_it_gets_a_note_and_no_memory(
    world: World,
) -> None:
    reading = trio.Event()
    seen = bytearray()

    async def slow_send(message: Any) -> None:
        seen.extend(message.get("body", b""))
        if seen:
            await reading.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.app, scope_of("GET", "/logs/stream/m1"), no_body, slow_send)
        await trio.testing.wait_all_tasks_blocked()
        world.logs.upstream("m1").write(b"x" * 65_536)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(99):
            world.logs.upstream("m1").write(b"x" * 65_536)
        await trio.testing.wait_all_tasks_blocked()
        assert len(seen) == 65_536
        reading.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    note = f"\n— {99 * 65_536 - 262_144} bytes dropped —\n".encode()
    assert bytes(seen[65_536:]) == note + b"x" * 262_144


@pytest.mark.parametrize("path", ["nope", "nope/m1", "PROXY", "m1x", "%20m1"])
async def test_given_an_unknown_source_when_followed_then_the_error_lists_the_known_kinds(
    world: World, path: str
) -> None:
    answer = await world.get(f"/logs/stream/{path}")

    assert answer.status == 400
    message = json.loads(answer.body)["error"]["message"]
    assert message == "invalid logger. Use 'proxy', 'upstream' or a model's ID"


async def test_given_a_log_stream_when_only_its_head_is_asked_for_then_it_ends_at_once(world: World) -> None:
    world.logs.proxy.info("hello")

    answer = await world.call("HEAD", "/logs/stream")

    assert (answer.status, answer.body) == (200, b"")


# --- readiness ----------------------------------------------------------------------------------------


async def test_given_a_ready_daemon_when_asked_then_anybody_is_told() -> None:
    world = build_world("apiKeys: [secret]\nmodels: {}")

    answer = await world.get("/ready")

    assert (answer.status, answer.body) == (200, b'{"status":"ready"}\n')


@pytest.mark.parametrize(
    ("readiness", "body"),
    [
        (Readiness(Phase.STARTING, ("m1", "a/b")), b'{"status":"starting","waiting":["m1","a/b"]}\n'),
        (Readiness(Phase.STOPPING), b'{"status":"stopping","waiting":[]}\n'),
        (Readiness(Phase.STUCK), b'{"status":"stuck","waiting":[]}\n'),
    ],
)
async def test_given_a_daemon_that_is_not_ready_when_asked_then_it_says_why_and_to_come_again(
    readiness: Readiness, body: bytes
) -> None:
    world = build_world(readiness=readiness)

    answer = await world.get("/ready")

    assert (answer.status, answer.body) == (503, body)
    assert answer.headers["retry-after"] == "1"


# --- the page -----------------------------------------------------------------------------------------


async def test_given_no_user_interface_when_its_page_is_opened_then_it_shows_the_models_escaped() -> None:
    world = build_world("models: {'<b>owl': {cmd: s, proxy: 'http://h:1', name: '<i>'}}")
    world.manager.states = {"<b>owl": ModelState.READY}

    answer = await world.get("/ui/")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert b"<td>&lt;b&gt;owl</td><td>&lt;i&gt;</td><td>ready</td>" in answer.body
    assert b"swapd 1.2.3" in answer.body


async def test_given_keys_when_the_page_is_opened_without_one_then_it_holds_no_data() -> None:
    world = build_world("apiKeys: [secret]\nmodels: {owl: {cmd: s, proxy: 'http://h:1'}}")

    answer = await world.get("/ui/")

    assert answer.status == 200
    assert b"owl" not in answer.body


async def test_given_a_file_that_is_not_there_when_asked_for_then_it_is_not_found(world: World) -> None:
    answer = await world.get("/ui/nope.js")

    assert (answer.status, answer.body) == (404, b"404 page not found\n")
