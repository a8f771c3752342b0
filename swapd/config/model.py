"""The keys of one model, and the model as the daemon sees it."""

# ruff: noqa: RUF009 - `key()` and the frozen sections it defaults to are immutable

from __future__ import annotations

import re
from typing import Any as AnyType

from attrs import field, frozen

from swapd.config.declare import Section, key
from swapd.config.frozen import EMPTY, FrozenMap
from swapd.config.kinds import Any, Bool, Choice, Int, ListOf, MapOf, Number, Seconds, Size, Text
from swapd.config.patterns import Pattern, Regex
from swapd.config.sleeping import SleepStep, Steps

DEFAULT_CONCURRENCY = 10
MIN_HEALTH_TIMEOUT_S = 15
DEFAULT_PROXY = "http://localhost:${PORT}"


@frozen
class Timeouts:
    """Connection timeouts towards a model, in seconds; 0 means no limit."""

    connect_s: int = key("connect", Int(), "TCP connect.", default=30)
    keepalive_s: int = key("keepalive", Int(), "TCP keep-alive interval.", default=30)
    response_header_s: int = key("responseHeader", Int(), "Wait for the first response header.", default=0)
    tls_handshake_s: int = key("tlsHandshake", Int(), "TLS handshake.", default=10)
    expect_continue_s: int = key("expectContinue", Int(), "Wait for `100 Continue`.", default=1)
    idle_conn_s: int = key("idleConn", Int(), "How long an idle pooled connection is kept.", default=90)


@frozen
class PeerTimeouts(Timeouts):
    """Connection timeouts towards a peer."""

    response_header_s: int = key("responseHeader", Int(), "Wait for the first response header.", default=60)


@frozen
class Capabilities:
    """What a model can do, for clients that ask; all defaults mean "not stated"."""

    inputs: tuple[str, ...] = key(
        "in", ListOf(Text()), "What it takes: `text`, `audio`, `image`.", default=(), example="[text, image]"
    )
    outputs: tuple[str, ...] = key(
        "out", ListOf(Text()), "What it gives: `text`, `audio`, `image`.", default=(), example="[text]"
    )
    tools: bool = key("tools", Bool(), "It can call functions.", default=False)
    reranker: bool = key("reranker", Bool(), "It ranks documents.", default=False)
    context: int = key(
        "context", Int(), "Context length in tokens; 0 is not stated.", default=0, example="32768"
    )

    @property
    def stated(self) -> bool:
        return self != _NO_CAPABILITIES


_NO_CAPABILITIES = Capabilities()


@frozen
class PeerFilters:
    """Edits of JSON request bodies on their way to a peer."""

    strip_params: str = key(
        "stripParams",
        Text(),
        "Comma-separated keys to delete from request bodies.",
        default="",
        example="seed, logit_bias",
    )
    set_params: FrozenMap[str, AnyType] = key(
        "setParams",
        MapOf(Any(), key="path"),
        "Keys set in request bodies; `model` is never set.",
        default=EMPTY,
        example="{temperature: 0.7}",
    )
    set_params_by_id: FrozenMap[str, FrozenMap[str, AnyType]] = key(
        "setParamsByID",
        MapOf(MapOf(Any(), key="path")),
        "Keys set when the client asked by this name. On a model every name here becomes an alias.",
        default=EMPTY,
        example='{"chat:exact": {temperature: 0}}',
    )

    @property
    def strip(self) -> tuple[str, ...]:
        """The keys to delete: sorted, without blanks, repeats and `model`."""
        return strip_list(self.strip_params)


@frozen
class Filters(PeerFilters):
    """Edits of JSON request bodies on their way to a model."""

    old_strip_params: str = key(
        "strip_params", Text(), "Old spelling of `stripParams`, used when that is empty.", default=""
    )

    @property
    def strip(self) -> tuple[str, ...]:
        return strip_list(self.strip_params or self.old_strip_params)


def strip_list(text: str) -> tuple[str, ...]:
    names = {name.strip() for name in text.split(",")}
    return tuple(sorted(names - {"", "model"}))


@frozen
class Compat:
    """Concessions to servers that behave unlike inference servers."""

    ignore_websockets: bool = key(
        "ignoreWebsockets",
        Bool(),
        "WebSocket connections neither load the model nor count for concurrency, idle time or swapping.",
        default=False,
    )


@frozen
class Liveness:
    """Health checks of a model that is already serving; off while `interval` is 0."""

    interval_s: float = key(
        "interval", Seconds(), "Time between two checks; 0 is off.", default=0.0, example="30s"
    )
    failures: int = key(
        "failures", Int(minimum=1), "Failed checks in a row that count as a crash.", default=3
    )


@frozen
class Health:
    """When a model counts as ready, and as dead."""

    timeout_s: float | None = key(
        "timeout",
        Seconds(),
        "How long a start may take; below 15 is raised to 15.",
        default=None,
        default_text="`healthCheckTimeout`",
        extension=True,
        example="10m",
    )
    liveness: Liveness = key(
        "liveness", Section(Liveness), "Checks while the model serves.", default=Liveness(), extension=True
    )


@frozen
class Sleep:
    """Putting a model to sleep instead of stopping it, for servers that can."""

    mode: str = key(
        "mode",
        Choice(("off", "vllm", "http", "cmd")),
        "How the server is put to sleep.",
        default="off",
        example="vllm",
    )
    level: int = key("level", Int(minimum=0), "Sleep level for `vllm`.", default=1)
    sleep: tuple[SleepStep, ...] = key(
        "sleep", Steps(), "Steps that put it to sleep, in order.", default=(), example="[POST /sleep]"
    )
    wake: tuple[SleepStep, ...] = key(
        "wake", Steps(), "Steps that wake it, in order.", default=(), example="[POST /wake_up]"
    )
    timeout_s: float = key("timeout", Seconds(), "Limit for the steps together.", default=20.0)
    on_ttl: bool = key("onTTL", Bool(), "An idle model sleeps instead of being unloaded.", default=False)
    asleep_ttl_s: float = key(
        "asleepTTL", Seconds(), "Time asleep after which it is stopped for real; 0 is never.", default=0.0
    )


@frozen
class ModelKeys:
    """`models.<id>`: one model and the command that serves it."""

    cmd: str = key(
        "cmd",
        Text(),
        "The command that starts the server. Lines starting with `#` are comments, a trailing `\\` continues "
        "a line. It is split into words by POSIX shell rules; no shell runs it. `${PORT}` stands for a port.",
        default="",
        example="llama-server --port ${PORT} -m /models/chat.gguf",
    )
    cmd_stop: str = key(
        "cmdStop",
        Text(),
        "A command run to stop the model instead of SIGTERM; `${PID}` is the process to stop.",
        default="",
        example="docker stop chat",
    )
    proxy: str = key(
        "proxy",
        Text(),
        "Base URL of the model's server.",
        default=DEFAULT_PROXY,
        example="http://127.0.0.1:9001",
    )
    check_endpoint: str = key(
        "checkEndpoint",
        Text(),
        "Path polled with GET until it answers 200. `none` means ready as soon as the process runs.",
        default="/health",
        example="/v1/models",
    )
    ttl_s: int = key(
        "ttl",
        Int(minimum=-1),
        "Seconds without a request after which the model is unloaded; 0 is never, -1 is `globalTTL`.",
        default=-1,
        example="600",
    )
    unload_timeout_s: int = key(
        "unloadTimeout",
        Int(minimum=0),
        "Seconds between the stop signal and SIGKILL; 0 is the global `unloadTimeout`.",
        default=0,
    )
    name: str = key("name", Text(trim=True), "Name shown in listings.", default="")
    description: str = key("description", Text(trim=True), "Description shown in listings.", default="")
    aliases: tuple[str, ...] = key(
        "aliases",
        ListOf(Text()),
        "Further names, each unique in the whole configuration.",
        default=(),
        example="[gpt-4o-mini]",
    )
    unlisted: bool = key("unlisted", Bool(), "Hidden from `/v1/models`, usable all the same.", default=False)
    use_model_name: str = key(
        "useModelName",
        Text(),
        "Replaces the request's `model` towards the server.",
        default="",
        example="Qwen/Qwen3-8B",
    )
    env: tuple[str, ...] = key(
        "env",
        ListOf(Text()),
        "`NAME=value` items added to the daemon's environment.",
        default=(),
        example="[CUDA_VISIBLE_DEVICES=0]",
    )
    concurrency_limit: int = key(
        "concurrencyLimit",
        Int(),
        f"Most requests admitted at once, above it they get 429; 0 and below mean {DEFAULT_CONCURRENCY}.",
        default=0,
        example="4",
    )
    filters: Filters = key("filters", Section(Filters), "Edits of JSON request bodies.", default=Filters())
    metadata: FrozenMap[str, AnyType] = key(
        "metadata",
        MapOf(Any()),
        "Free data passed to clients in `/v1/models`.",
        default=EMPTY,
        example="{quantization: Q4_K_M}",
    )
    sending_loading_state: bool | None = key(
        "sendLoadingState",
        Bool(),
        "Show loading progress in the reasoning of streamed chat answers.",
        default=None,
        default_text="the global `sendLoadingState`",
    )
    timeouts: Timeouts = key(
        "timeouts", Section(Timeouts), "Connection timeouts towards the model.", default=Timeouts()
    )
    compat: Compat = key("compat", Section(Compat), "Concessions to unusual servers.", default=Compat())
    capabilities: Capabilities = key(
        "capabilities", Section(Capabilities), "What the model can do.", default=Capabilities()
    )
    macros: FrozenMap[str, AnyType] = key(
        "macros",
        MapOf(Any()),
        "Macros of this model; they override global ones.",
        default=EMPTY,
        example="{context: 8192}",
    )
    ignored_health_check_timeout: int | None = key(
        "healthCheckTimeout", Int(), "Has no effect on a model; use `health.timeout`.", default=None
    )
    health: Health = key(
        "health", Section(Health), "Readiness and liveness.", default=Health(), extension=True
    )
    max_wait: float | None = key(
        "maxWait",
        Seconds(),
        "Longest wait behind a busy model, 0 is without limit.",
        default=None,
        default_text="`routing.scheduler.settings.fifo.maxWait`",
        extension=True,
    )
    queue_timeout: float | None = key(
        "queueTimeout",
        Seconds(),
        "Longest time in the queue, then 503; 0 is off.",
        default=None,
        default_text="the global `queueTimeout`",
        extension=True,
    )
    ready_hint_regex: Regex | None = key(
        "readyHint",
        Pattern(),
        "A line of output matching this makes swapd probe at once.",
        default=None,
        default_text='`""`',
        extension=True,
        example="server is listening",
    )
    detached: bool = key(
        "detached",
        Bool(),
        "The command returns while the server lives on; needs `cmdStop`.",
        default=False,
        extension=True,
    )
    auto_restart: bool = key(
        "autoRestart",
        Bool(),
        "Start again after a crash if that evicts nobody.",
        default=False,
        extension=True,
    )
    keep_loaded: bool = key(
        "keepLoaded", Bool(), "Idle time never unloads the model.", default=False, extension=True
    )
    memory: FrozenMap[str, int] = key(
        "memory",
        MapOf(Size(), key="device"),
        "Memory the model needs per device, for the memory policy.",
        default=EMPTY,
        default_text="learned",
        extension=True,
        example="{gpu0: 6GiB}",
    )
    pinned: bool = key("pinned", Bool(), "The memory policy never evicts it.", default=False, extension=True)
    evict_cost: float = key(
        "evictCost", Number(above=0), "What evicting it costs the memory policy.", default=1.0, extension=True
    )
    sleep: Sleep = key("sleep", Section(Sleep), "Sleep instead of stop.", default=Sleep(), extension=True)
    captures: bool = key(
        "captures", Bool(), "Requests to this model may be captured.", default=True, extension=True
    )


@frozen
class Fingerprint:
    """What a running process was started from; equal fingerprints mean it may keep running.

    The assigned port stays symbolic, so a renumbering alone changes nothing.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    proxy: str
    detached: bool


@frozen
class ModelConfig(ModelKeys):
    """One model with everything worked out.

    The inherited fields hold effective values: `ttl_s` 0 is never, `unload_timeout_s` and
    `concurrency_limit` are positive, `aliases` end with the automatic ones. `port` is the assigned port, None
    when the command does not ask for one. `stop_argv` may hold `${PID}`.
    """

    id: str = ""
    argv: tuple[str, ...] = ()
    stop_argv: tuple[str, ...] = ()
    port: int | None = None
    health_timeout_s: float = 120.0
    max_wait_s: float = 120.0
    queue_timeout_s: float = 0.0
    send_loading_state: bool = False
    fingerprint: Fingerprint = field(default=Fingerprint((), (), "", False), repr=False)

    @property
    def ready_hint(self) -> re.Pattern[str] | None:
        return None if self.ready_hint_regex is None else self.ready_hint_regex.compiled
