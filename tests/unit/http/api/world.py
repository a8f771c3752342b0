"""The application with a manager that is a sheet of paper, and a client that speaks ASGI to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from attrs import define, field

from swapd.config import Config, loads
from swapd.http.access_log import AccessLog
from swapd.http.answers import answer
from swapd.http.api import Control, build_api
from swapd.http.api.control import Readiness
from swapd.http.app import App
from swapd.http.auth import Authentication
from swapd.http.proxy.profiles import Profiles
from swapd.nursery.events import Refusal
from swapd.nursery.lease import Refused
from swapd.nursery.states import ModelState
from swapd.observe.logs import Logs, LogSettings
from swapd.observe.telemetry import Telemetry
from swapd.supervision.configuration import ConfigState, ConfigStatus, Trigger
from swapd.version import Build

NOW = 1_785_913_623.9

CONFIG = """
models:
  m1: {cmd: serve m1, proxy: "http://127.0.0.1:5801", aliases: [nick], ttl: 300, name: Model One}
  a/b: {cmd: serve ab, proxy: "http://127.0.0.1:5802", useModelName: real}
  hid: {cmd: serve hid, proxy: "http://127.0.0.1:5803", unlisted: true}
  cap:
    cmd: serve cap
    proxy: "http://127.0.0.1:5804"
    capabilities: {in: [text, image], out: [text], tools: true, context: 4096}
"""

MODEL_ROUTES = {
    "/v1/chat/completions": ("POST",),
    "/v1/audio/voices": ("GET", "POST"),
    "/props": ("GET",),
}


@define
class FakeManager:
    """Shows the states a test writes into it, and notes what it is asked to stop."""

    states: dict[str, ModelState] = field(factory=dict)
    unloaded: list[Sequence[str] | None] = field(factory=list)
    drained: list[bool] = field(factory=list)
    pins: dict[str, str | None] = field(factory=dict)
    refusal: Refusal | None = None
    """If set, `load` is refused with it."""
    may_finish: trio.Event | None = None
    """If set, `unload` returns when this is."""

    def snapshot(self) -> FakeManager:
        return self

    @property
    def models(self) -> dict[str, FakeModel]:
        return {name: FakeModel(state, pinned_by=self.pins.get(name)) for name, state in self.states.items()}

    @property
    def queued(self) -> int:
        return sum(model.queued for model in self.models.values())

    @property
    def shutting_down(self) -> bool:
        return False

    async def load(self, model: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise Refused(self.refusal)
        self.states[model] = ModelState.READY

    async def restart(self, model: str) -> None:
        await self.unload([model], drain=True)
        await self.load(model)

    def pin(self, model: str, by: str | None) -> None:
        self.pins[model] = by

    async def unload(self, models: Sequence[str] | None, *, drain: bool = False) -> None:
        self.unloaded.append(models)
        self.drained.append(drain)
        if self.may_finish is not None:
            await self.may_finish.wait()


@define
class FakeModel:
    state: ModelState
    pid: int | None = 4711
    started_at: float = 0.0
    ready_at: float = 0.0
    last_use: float = 0.0
    leases: int = 0
    queued: int = 0
    reserved: int = 0
    failures: int = 0
    retry_at: float | None = None
    pinned_by: str | None = None
    outdated: bool = False


@define
class Answer:
    """What an application sent in answer to one request."""

    status: int = 0
    raw_headers: list[tuple[bytes, bytes]] = field(factory=list)
    chunks: list[bytes] = field(factory=list)
    complete: bool = False
    request_id: str = ""
    """From the header that all answers have; it is left out of `headers`."""

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    async def take(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            assert not self.status
            self.status, self.raw_headers = message["status"], list(message["headers"])
            ids = [pair for pair in self.raw_headers if pair[0] == b"x-request-id"]
            self.raw_headers = [pair for pair in self.raw_headers if pair not in ids]
            self.request_id = ids[0][1].decode() if ids else ""
        else:
            assert message["type"] == "http.response.body"
            assert self.status
            assert not self.complete
            self.chunks.append(message.get("body", b""))
            self.complete = not message.get("more_body", False)


def scope_of(method: str, target: str, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """The scope of a request for `target`, as the server makes it."""
    from urllib.parse import unquote

    raw_path, _, query = target.encode("latin-1").partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [
            (name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()
        ],
        "client": ("192.0.2.7", 40000),
        "server": ("127.0.0.1", 8080),
        "extensions": {},
        **more,
    }


async def no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


@define
class World:
    """Everything a test of the application needs."""

    config: Config
    manager: FakeManager
    logs: Logs
    app: App
    asked: list[tuple[str, str, bytes]]
    """Requests that reached the model routes ("models") or the passthrough: (which, path, raw path)."""
    control: Control
    background: list[Any]
    """What handlers have asked to be run in the background: (function, arguments)."""

    async def call(
        self, method: str, target: str, headers: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        """One request, answered to the end."""
        answered = Answer()
        await self.app(scope_of(method, target, headers, **more), no_body, answered.take)
        assert answered.complete
        return answered

    async def get(self, target: str, headers: dict[str, str] | None = None) -> Answer:
        return await self.call("GET", target, headers)

    def log_lines(self) -> list[str]:
        return self.logs.rings["proxy"].history().decode().splitlines()


def build_world(config: str = CONFIG, readiness: Readiness | None = None) -> World:
    loaded = loads(config)
    assert loaded.config is not None, loaded.problems
    manager, logs = FakeManager(), Logs(LogSettings())
    asked: list[tuple[str, str, bytes]] = []
    background: list[Any] = []

    def noting(name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            asked.append((name, scope["path"], scope["raw_path"]))
            await answer(scope, send, 200, [], name.encode())

        return app

    telemetry = Telemetry(loaded.config, logs)
    profiles = Profiles(lambda: loaded.config)  # type: ignore[arg-type, return-value]
    status = ConfigStatus(1, ConfigState.OK, loaded.files, NOW, Trigger.START)

    async def reload() -> ConfigStatus:
        await trio.lowlevel.checkpoint()
        return status

    control = Control(
        lambda: loaded.config,  # type: ignore[arg-type, return-value]
        manager,
        logs,
        telemetry,
        profiles,
        config_status=lambda: status,
        reload=reload,
        start_soon=lambda function, *arguments: background.append((function, arguments)),
        started_at=NOW - 100,
        readiness=lambda: readiness or Readiness(),
        build=Build("1.2.3", "abc", "today"),
        now=lambda: NOW,
    )
    auth = Authentication(lambda: loaded.config.api_keys if loaded.config else ())
    access_log = AccessLog(logs.proxy)
    access_log.apply(loaded.config)
    app = App(
        models=noting("models"),
        model_routes=MODEL_ROUTES,
        passthrough=noting("passthrough"),
        api=build_api(control, auth),
        auth=auth,
        access_log=access_log,
        log=logs.proxy,
    )
    return World(loaded.config, manager, logs, app, asked, control, background)
