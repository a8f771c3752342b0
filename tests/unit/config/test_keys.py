"""Every key and its default, as the language has them; what a result is; what the package depends on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from attrs import fields
from attrs.exceptions import FrozenInstanceError

from swapd.config import Config, FrozenMap, ModelConfig, loads
from swapd.config.configuration import RootKeys
from swapd.config.declare import keys_of
from swapd.config.model import ModelKeys
from swapd.config.show import effective

DEFAULTS: dict[str, Any] = {
    "models": {},
    "startPort": 5800,
    "healthCheckTimeout": 120,
    "globalTTL": 0,
    "unloadTimeout": 10,
    "logLevel": "info",
    "logTimeFormat": "",
    "logToStdout": "proxy",
    "metricsMaxInMemory": 1000,
    "captureBuffer": 5,
    "sendLoadingState": False,
    "includeAliasesInList": False,
    "apiKeys": [],
    "hooks": {"on_startup": {"preload": []}},
    "performance": {
        "disabled": False,
        "every": "5.0s",
        "idlePause": False,
        "persist": False,
        "sources": "auto",
    },
    "ui": {
        "activity": {"session_id": ["X-Session-ID", "X-Litellm-Session-Id"]},
        "title": "swapd",
        "theme": "system",
        "defaultPage": "models",
        "allowedHosts": [],
    },
    "upstream": {"ignorePaths": [r".*\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$"]},
    "profiles": {},
    "selectors": {},
    "peers": {},
    "routing": {
        "router": {
            "use": "group",
            "settings": {"memory": {"budgets": "auto", "reserve": 0}, "groups": {}},
        },
        "scheduler": {
            "use": "fifo",
            "settings": {"fifo": {"priority": {}, "maxWait": 120, "minLoaded": 0}},
        },
    },
    "queueTimeout": 0,
    "abandonLoad": "when-needed",
    "restart": {"threshold": 3, "base": 2, "factor": 2, "max": 300, "stableAfter": 60},
    "shutdown": {"drain": 30, "preStopDelay": 0},
    "reload": {"drain": 300},
    "maxRequestBody": 0,
    "ollama": {"enabled": True},
    "trustedProxies": ["127.0.0.0/8", "::1/128"],
    "logBuffer": 102400,
    "logFormat": "auto",
    "metrics": {"compat": True, "public": False, "upstream": False},
    "captures": {
        "store": "memory",
        "maxEntry": 4 << 20,
        "maxAge": 0,
        "maxSize": 0,
        "redactHeaders": ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"],
        "redactPatterns": [],
        "onlyKeys": [],
    },
}

MODEL_DEFAULTS: dict[str, Any] = {
    "cmd": "s",
    "cmdStop": "",
    "proxy": "http://h",
    "checkEndpoint": "/health",
    "ttl": 0,  # the global one
    "unloadTimeout": 10,  # the global one
    "name": "",
    "description": "",
    "aliases": [],
    "unlisted": False,
    "useModelName": "",
    "env": [],
    "concurrencyLimit": 10,
    "filters": {"stripParams": "", "setParams": {}, "setParamsByID": {}, "strip_params": ""},
    "metadata": {},
    "sendLoadingState": False,
    "timeouts": {
        "connect": 30,
        "keepalive": 30,
        "responseHeader": 0,
        "tlsHandshake": 10,
        "expectContinue": 1,
        "idleConn": 90,
    },
    "compat": {"ignoreWebsockets": False},
    "capabilities": {"in": [], "out": [], "tools": False, "reranker": False, "context": 0},
    "health": {"timeout": 120, "liveness": {"interval": 0, "failures": 3}},
    "maxWait": 120,
    "queueTimeout": 0,
    "detached": False,
    "autoRestart": False,
    "keepLoaded": False,
    "memory": {},
    "pinned": False,
    "evictCost": 1,
    "sleep": {
        "mode": "off",
        "level": 1,
        "sleep": [],
        "wake": [],
        "timeout": 20,
        "onTTL": False,
        "asleepTTL": 0,
    },
    "captures": True,
}

NOT_SHOWN = {"macros", "groups", "matrix", "logRequests", "store"}
"""Resolved, moved to their new place, without effect, or absent by default."""

MODEL_NOT_SHOWN = {"macros", "healthCheckTimeout", "readyHint"}

STORE = {"maxAge": 90 * 86400, "maxRows": 1_000_000, "maxSize": 1 << 30}

PEER = {"connect": 30, "keepalive": 30, "responseHeader": 60, "tlsHandshake": 10, "expectContinue": 1}


def config(text: str) -> Config:
    loaded = loads(text, environ={})
    assert loaded.config is not None, loaded.problems
    return loaded.config


def test_the_defaults_of_the_top_level() -> None:
    values = effective(config(""))
    skipped = values.pop("accessLog")
    assert (skipped["enabled"], len(skipped["skip"]) > 0) == (True, True)
    assert len(values.pop("loadingRemarks")) > 3
    assert values == DEFAULTS


def test_no_key_of_the_top_level_is_without_a_default_here() -> None:
    assert set(keys_of(RootKeys)) == set(DEFAULTS) | NOT_SHOWN | {"accessLog", "loadingRemarks"}


def test_the_defaults_of_a_model() -> None:
    values = effective(config('models: {owl: {cmd: s, proxy: "http://h"}}'))
    assert values["models"]["owl"] == MODEL_DEFAULTS


def test_no_key_of_a_model_is_without_a_default_here() -> None:
    assert set(keys_of(ModelKeys)) == set(MODEL_DEFAULTS) | MODEL_NOT_SHOWN


def test_the_defaults_of_a_store_and_a_peer() -> None:
    values = effective(config('store: {path: s.db}\npeers: {hub: {proxy: "http://h", models: [m]}}'))
    assert values["store"] == {"path": "s.db", **STORE}
    assert values["peers"]["hub"]["timeouts"] == {**PEER, "idleConn": 90}


def test_a_default_proxy_has_the_port() -> None:
    assert config("models: {owl: {cmd: 's ${PORT}'}}").models["owl"].proxy == "http://localhost:5800"


# --- the result -----------------------------------------------------------------------------------------

RICH = """\
macros: {m: 8}
models:
  owl:
    cmd: s ${PORT} --n ${m}
    metadata: {a: [1, {b: ~}], c: .inf}
    filters: {setParams: {x: {y: [1]}}}
    readyHint: ready
    sleep: {sleep: [POST /sleep, {path: /x, body: {a: [1]}}]}
    memory: {gpu0: 1GiB}
  wren: {cmd: "s ${PORT}"}
matrix: {sets: {s: "owl | wren"}}
peers: {hub: {proxy: "http://h", models: [m], apiKey: k}}
apiKeys: [k1]
"""


def test_a_result_is_immutable_all_the_way_down() -> None:
    loaded = config(RICH)
    owl = loaded.models["owl"]
    for instance, name in (
        (loaded, "start_port"),
        (owl, "cmd"),
        (owl.fingerprint, "argv"),
        (owl.sleep, "mode"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(instance, name, None)
    for mapping in (loaded.models, owl.metadata, owl.filters.set_params["x"], owl.memory, loaded.names):
        assert isinstance(mapping, FrozenMap)
        with pytest.raises(TypeError):
            mapping["new"] = 1
    assert isinstance(owl.metadata["a"], tuple)


def test_a_result_is_hashable_per_model_and_as_a_whole() -> None:
    first, second = config(RICH), config(RICH)

    assert first == second
    assert hash(first) == hash(second)
    for id, model in first.models.items():
        assert hash(model) == hash(second.models[id])
        assert hash(model.fingerprint) == hash(second.models[id].fingerprint)
    assert first.models["owl"] != first.models["wren"]


def change(old: str, new: str) -> tuple[ModelConfig, ModelConfig]:
    assert old in RICH
    return config(RICH).models["owl"], config(RICH.replace(old, new)).models["owl"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s ${PORT} --n ${m}", "s ${PORT}  --n\t '${m}'"),
        ("    readyHint: ready\n", "    name: another\n    ttl: 5\n    aliases: [o]\n"),
        ("matrix:", "globalTTL: 9\nmatrix:"),
        ("macros: {m: 8}", "macros: {m: 8, unused: 1}\nstartPort: 7000"),
    ],
    ids=["blanks", "live fields", "other keys", "another port"],
)
def test_what_does_not_concern_the_process_leaves_its_fingerprint(old: str, new: str) -> None:
    before, after = change(old, new)
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--n ${m}", "--n ${m} --more"),
        ("macros: {m: 8}", "macros: {m: 9}"),
        ("    readyHint: ready\n", "    env: [A=1]\n"),
        ("    readyHint: ready\n", "    proxy: http://other:${PORT}\n"),
        ("    readyHint: ready\n", "    detached: true\n    cmdStop: stop\n"),
    ],
    ids=["cmd", "macro", "env", "proxy", "detached"],
)
def test_what_concerns_the_process_changes_its_fingerprint(old: str, new: str) -> None:
    before, after = change(old, new)
    assert after.fingerprint != before.fingerprint


def test_no_secret_stands_in_a_repr() -> None:
    text = repr(config(RICH))
    assert "k1" not in text
    assert "api_key" not in text
    assert {field.name for field in fields(Config)} >= {"models", "api_keys"}


def test_it_knows_nothing_of_trio_or_http() -> None:
    # Given a Python that has imported the package and loaded a configuration
    code = (
        "import sys, swapd.config as c; c.loads('models: {owl: {cmd: s, proxy: \"http://h\"}}');"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    # Then none of these is there
    assert {"swapd", "attrs"} <= set(loaded.split())
    assert not {"trio", "anyio", "httpx", "hypercorn", "starlette", "httptools"} & set(loaded.split())
