"""The keys outside models: what the daemon itself does."""

# ruff: noqa: RUF009 - `key()` and the frozen sections it defaults to are immutable

from __future__ import annotations

from attrs import frozen

from swapd.config.declare import Section, key
from swapd.config.kinds import Bool, Choice, Duration, Int, ListOf, Number, Seconds, Size, Text
from swapd.config.patterns import Pattern, Regex, compile_regex
from swapd.config.special_kinds import Addresses, AutoOr

DEFAULT_IGNORED_PATHS = (compile_regex(r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$"),)
TIME_FORMATS = (
    "",
    *("ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z", "rfc3339"),
    *("rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano"),
)
ALWAYS_REDACTED = ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")
LOADING_REMARKS = (
    "Weights take their time, tea does too.",
    "Moving a few billion numbers, please hold.",
    "The model is reading its own manual.",
    "Warming up the matrix multiplications.",
    "Still faster than training it yourself.",
    "Counting parameters … lost count, starting over.",
    "Your GPU says hello.",
    "Somewhere a fan just got louder.",
)


@frozen
class Performance:
    """Sampling of host and GPU load."""

    disabled: bool = key("disabled", Bool(), "No sampling at all.", default=False)
    every_s: float = key(
        "every",
        Duration(),
        "Time between two samples, at least 5 s.",
        default=5.0,
        default_text="`5s`",
        example="15s",
    )
    idle_pause: bool = key(
        "idlePause",
        Bool(),
        "Sample every 30 s only while nobody looks, so that GPUs can sleep deeply.",
        default=False,
        extension=True,
    )
    persist: bool = key("persist", Bool(), "Keep samples in the store.", default=False, extension=True)
    sources: str | tuple[str, ...] = key(
        "sources",
        AutoOr(ListOf(Text())),
        "GPUs to sample, of `nvidia` and `amd`.",
        default="auto",
        extension=True,
    )


@frozen
class Store:
    """The activity store on disk."""

    path: str = key(
        "path",
        Text(),
        "File of the store; relative to the working directory.",
        default="",
        default_text="required",
        example="/var/lib/swapd/activity.db",
    )
    max_age_s: float = key(
        "maxAge",
        Seconds(),
        "Rows older than this are removed; 0 is without limit.",
        default=90 * 86400.0,
        default_text="`90d`",
        extension=True,
        example="30d",
    )
    max_rows: int = key(
        "maxRows", Int(minimum=0), "Most rows kept; 0 is without limit.", default=1_000_000, extension=True
    )
    max_size: int = key(
        "maxSize",
        Size(),
        "Largest size of the file; 0 is without limit.",
        default=1 << 30,
        default_text="`1GiB`",
        extension=True,
        example="512MiB",
    )


@frozen
class UiActivity:
    """How the activity page labels requests."""

    session_headers: tuple[str, ...] = key(
        "session_id",
        ListOf(Text()),
        "Request headers that name the session; the first non-empty one wins, `[]` is off.",
        default=("X-Session-ID", "X-Litellm-Session-Id"),
    )


@frozen
class Ui:
    """The web interface."""

    activity: UiActivity = key("activity", Section(UiActivity), "The activity page.", default=UiActivity())
    title: str = key("title", Text(), "Title of the pages.", default="swapd", extension=True)
    theme: str = key("theme", Text(), "Colour scheme people start with.", default="system", extension=True)
    default_page: str = key(
        "defaultPage", Text(), "Page people start with.", default="models", extension=True
    )
    allowed_hosts: tuple[str, ...] = key(
        "allowedHosts",
        ListOf(Text()),
        "Host names the interface answers to; empty is all.",
        default=(),
        extension=True,
        example="[ai.home.arpa]",
    )


@frozen
class Upstream:
    """Direct access to a model's own server under `/upstream/<model>/`."""

    ignore_paths: tuple[Regex, ...] = key(
        "ignorePaths",
        ListOf(Pattern()),
        "Paths that never start a model; they get 409 while it is not ready. To match nothing write `^$`.",
        default=DEFAULT_IGNORED_PATHS,
        default_text=f"`{DEFAULT_IGNORED_PATHS[0].text}`",
        example="['\\.(js|css)$']",
    )


@frozen
class OnStartup:
    """What happens right after the start."""

    preload: tuple[str, ...] = key(
        "preload",
        ListOf(Text(trim=True)),
        "Models to load one after another.",
        default=(),
        example="[chat, embed]",
    )


@frozen
class Hooks:
    """Things done at certain moments."""

    on_startup: OnStartup = key("on_startup", Section(OnStartup), "After the start.", default=OnStartup())


@frozen
class Restart:
    """The breaker: a model that fails several times in a row is left alone for a while."""

    threshold: int = key("threshold", Int(minimum=1), "Failures in a row that open the breaker.", default=3)
    base_s: float = key("base", Seconds(), "First pause.", default=2.0)
    factor: float = key(
        "factor", Number(minimum=1), "Growth of the pause from failure to failure.", default=2.0
    )
    max_s: float = key("max", Seconds(), "Longest pause.", default=300.0)
    stable_after_s: float = key(
        "stableAfter", Seconds(), "Time ready after which failures are forgotten.", default=60.0
    )


@frozen
class Shutdown:
    """How the daemon ends."""

    drain_s: float = key("drain", Seconds(), "Longest wait for requests in flight.", default=30.0)
    pre_stop_delay_s: float = key(
        "preStopDelay", Seconds(), "Time between the signal and the refusal of new requests.", default=0.0
    )


@frozen
class Reload:
    """How a changed configuration is taken over."""

    drain_s: float = key(
        "drain",
        Seconds(),
        "Longest wait for a model whose command changed or that was removed.",
        default=300.0,
    )


@frozen
class Ollama:
    """The Ollama-compatible routes."""

    enabled: bool = key("enabled", Bool(), "Answer under `/api/chat`, `/api/tags` and so on.", default=True)


@frozen
class AccessLog:
    """One line a request in the log."""

    enabled: bool = key("enabled", Bool(), "Write it at all.", default=True)
    skip: tuple[str, ...] = key(
        "skip",
        ListOf(Text()),
        "Path prefixes that are left out.",
        default=("/wol-health", "/api/performance", "/metrics", "/health", "/api/events", "/ui/"),
        example="[/health, /metrics]",
    )


@frozen
class Metrics:
    """Prometheus metrics."""

    compat: bool = key("compat", Bool(), "Also under llama-swap's names.", default=True)
    public: bool = key("public", Bool(), "Readable without a key.", default=False)
    upstream: bool = key("upstream", Bool(), "Pass on the metrics of the models' servers.", default=False)


@frozen
class Captures:
    """Recorded requests and answers; `captureBuffer` is the memory for them."""

    store: str = key("store", Choice(("memory", "disk")), "Where they are kept.", default="memory")
    max_entry: int = key(
        "maxEntry", Size(), "Longest body kept in one capture.", default=4 << 20, default_text="`4MiB`"
    )
    max_age_s: float = key("maxAge", Seconds(), "For `disk`: age limit; 0 is none.", default=0.0)
    max_size: int = key("maxSize", Size(), "For `disk`: size limit; 0 is none.", default=0)
    redact_headers: tuple[str, ...] = key(
        "redactHeaders",
        ListOf(Text(trim=True)),
        "Header names whose values are masked, besides those that always are.",
        default=ALWAYS_REDACTED,
        example="[x-session]",
    )
    redact_patterns: tuple[Regex, ...] = key(
        "redactPatterns",
        ListOf(Pattern()),
        "Text in bodies that is masked.",
        default=(),
        example="['sk-[A-Za-z0-9]+']",
    )
    only_keys: tuple[str, ...] = key(
        "onlyKeys",
        ListOf(Text()),
        "Capture only requests made with these keys; empty is all.",
        default=(),
        example="[guests]",
    )


@frozen
class Settings:
    """Top-level keys that take effect as they are written."""

    start_port: int = key(
        "startPort",
        Int(minimum=1, code="start-port"),
        "The first port given to models.",
        default=5800,
        example="10001",
    )
    health_check_timeout_s: int = key(
        "healthCheckTimeout",
        Int(),
        "Seconds a starting model may take to become ready; below 15 is raised to 15.",
        default=120,
        example="600",
    )
    global_ttl_s: int = key(
        "globalTTL",
        Int(minimum=0),
        "Seconds without a request after which a model is unloaded; 0 is never.",
        default=0,
        example="900",
    )
    unload_timeout_s: int = key(
        "unloadTimeout",
        Int(minimum=0),
        "Seconds between the stop signal and SIGKILL; 0 means 10.",
        default=10,
    )
    log_level: str = key(
        "logLevel",
        Choice(("debug", "info", "warn", "error"), lenient=True),
        "Least level logged.",
        default="info",
    )
    log_time_format: str = key(
        "logTimeFormat",
        Choice(TIME_FORMATS, lenient=True),
        "Time stamp of log lines.",
        default="",
        example="rfc3339",
    )
    log_to_stdout: str = key(
        "logToStdout",
        Choice(("proxy", "upstream", "both", "none")),
        "What goes to standard output: the daemon's own lines, the models' output, both, nothing.",
        default="proxy",
    )
    log_requests: bool = key("logRequests", Bool(), "Accepted for old files, has no effect.", default=False)
    metrics_max_in_memory: int = key(
        "metricsMaxInMemory",
        Int(),
        "Activity rows kept while there is no store; 0 and below mean 1000.",
        default=1000,
    )
    capture_buffer_mb: int = key(
        "captureBuffer", Int(), "MiB of memory for captures; 0 and below switch them off.", default=5
    )
    send_loading_state: bool = key(
        "sendLoadingState",
        Bool(),
        "Show loading progress in the reasoning of streamed chat answers.",
        default=False,
    )
    include_aliases_in_list: bool = key(
        "includeAliasesInList", Bool(), "`/v1/models` also lists every alias.", default=False
    )
    performance: Performance = key(
        "performance", Section(Performance), "Sampling of host and GPU load.", default=Performance()
    )
    store: Store | None = key(
        "store", Section(Store), "The activity store; without it rows are kept in memory.", default=None
    )
    ui: Ui = key("ui", Section(Ui), "The web interface.", default=Ui())
    upstream: Upstream = key("upstream", Section(Upstream), "Direct access to models.", default=Upstream())
    queue_timeout_s: float = key(
        "queueTimeout",
        Seconds(),
        "Longest time in the queue, then 503; 0 is off.",
        default=0.0,
        extension=True,
        example="5m",
    )
    abandon_load: str = key(
        "abandonLoad",
        Choice(("when-needed", "always", "never")),
        "Whether to give up loading a model nobody waits for any more.",
        default="when-needed",
        extension=True,
    )
    loading_remarks: tuple[str, ...] = key(
        "loadingRemarks",
        ListOf(Text()),
        "Remarks shown while a model loads; `[]` leaves dots only.",
        default=LOADING_REMARKS,
        default_text="a list of swapd's own",
        extension=True,
        example="[Just a moment.]",
    )
    restart: Restart = key(
        "restart",
        Section(Restart),
        "Pauses between starts of a model that keeps failing.",
        default=Restart(),
        extension=True,
    )
    shutdown: Shutdown = key(
        "shutdown",
        Section(Shutdown),
        "How long the end of the daemon may take.",
        default=Shutdown(),
        extension=True,
    )
    reload: Reload = key(
        "reload",
        Section(Reload),
        "How a changed configuration is taken over.",
        default=Reload(),
        extension=True,
    )
    max_request_body: int = key(
        "maxRequestBody",
        Size(),
        "Largest request body; 0 is without limit.",
        default=0,
        extension=True,
        example="64MiB",
    )
    ollama: Ollama = key(
        "ollama", Section(Ollama), "Ollama-compatible routes.", default=Ollama(), extension=True
    )
    trusted_proxies: tuple[str, ...] = key(
        "trustedProxies",
        Addresses(),
        "Addresses or CIDR blocks whose `X-Forwarded-*` headers are believed.",
        default=("127.0.0.0/8", "::1/128"),
        default_text="loopback",
        extension=True,
        example="[10.0.0.0/8]",
    )
    log_buffer: int = key(
        "logBuffer", Size(), "Size of each log history.", default=102400, extension=True, example="1MiB"
    )
    log_format: str = key(
        "logFormat",
        Choice(("auto", "text", "json", "journal")),
        "Form of the log lines on standard output; auto is journal under systemd, else text.",
        default="auto",
        extension=True,
    )
    access_log: AccessLog = key(
        "accessLog",
        Section(AccessLog),
        "A line in the log for every request.",
        default=AccessLog(),
        extension=True,
    )
    metrics: Metrics = key(
        "metrics", Section(Metrics), "Prometheus metrics.", default=Metrics(), extension=True
    )
    captures: Captures = key(
        "captures", Section(Captures), "Recorded requests and answers.", default=Captures(), extension=True
    )
