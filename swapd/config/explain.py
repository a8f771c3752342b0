"""What happens when a model is started: for `swapd check --explain`."""

from __future__ import annotations

import shlex
from typing import Any

from swapd.config.coexist import stays
from swapd.config.configuration import Config
from swapd.config.expressions import Expression, Reference, models, references
from swapd.config.model import ModelConfig
from swapd.config.routing import Matrix, Routing
from swapd.config.show import masked_environment


def explain(config: Config, name: str) -> dict[str, Any] | None:
    """The facts about a model as plain values, or None when there is no such model or alias."""
    id = config.resolve(name)
    if id is None:
        return None
    model = config.models[id]
    others = [other for other in config.models if other != id]
    kept = [other for other in others if stays(other, id, config.routing, config.models)]
    return {
        "model": id,
        "aliases": list(model.aliases),
        "argv": list(model.argv),
        "env": masked_environment(model.env),
        "port": model.port,
        "proxy": model.proxy,
        "ready": _readiness(model),
        "stop": list(model.stop_argv) or "SIGTERM",
        "unloadTimeout": model.unload_timeout_s,
        "ttl": model.ttl_s,
        "concurrencyLimit": model.concurrency_limit,
        "routing": _routing(id, config.routing),
        "stops": [other for other in others if other not in kept],
        "keeps": kept,
    }


def _readiness(model: ModelConfig) -> str:
    if model.check_endpoint.strip() == "none":
        return "as soon as the process runs"
    base = model.proxy.rstrip("/")
    path = model.check_endpoint
    target = path if path.startswith("/") or not path else f"/{path}"
    return f"GET {base}{target} answers 200, within {model.health_timeout_s:g} s"


def _routing(id: str, routing: Routing) -> str:
    if routing.engine == "group":
        group = routing.group_of(id)
        words = ["one member at a time" if group.swap else "members side by side"]
        words += ["exclusive"] if group.exclusive else []
        words += ["persistent"] if group.persistent else []
        return f"group {group.name}: {', '.join(words)}"
    if routing.matrix is not None:
        sets = _sets_holding(id, routing.matrix)
        return f"matrix, sets {', '.join(sets)}" if sets else "matrix, in no set: runs alone"
    return "memory policy: others are stopped as far as their memory is needed"


def _sets_holding(id: str, matrix: Matrix) -> list[str]:
    expressions = {entry.name: entry.expression for entry in matrix.sets}
    holding: dict[str, bool] = {}
    for name, expression in expressions.items():  # references come before what refers to them
        holding[name] = id in models(expression) or any(holding[other] for other in _referred(expression))
    return [name for name, holds in holding.items() if holds]


def _referred(expression: Expression) -> list[str]:
    return [expression.set] if isinstance(expression, Reference) else list(references(expression))


def explanation_text(facts: dict[str, Any]) -> str:
    """The facts as text for a terminal."""
    stop = facts["stop"] if isinstance(facts["stop"], str) else shlex.join(facts["stop"])
    rows = [
        ("model", facts["model"] + (f" (also {', '.join(facts['aliases'])})" if facts["aliases"] else "")),
        ("port", facts["port"] if facts["port"] is not None else "not assigned by swapd"),
        ("proxy", facts["proxy"]),
        ("ready", f"when {facts['ready']}" if facts["ready"].startswith("GET") else facts["ready"]),
        ("stopped by", f"{stop}, then SIGKILL after {facts['unloadTimeout']} s"),
        ("idle", f"unloaded after {facts['ttl']} s" if facts["ttl"] else "never unloaded"),
        ("requests", f"at most {facts['concurrencyLimit']} at once"),
        ("routing", facts["routing"]),
        ("stops", ", ".join(facts["stops"]) or "nothing"),
        ("keeps", ", ".join(facts["keeps"]) or "nothing"),
    ]
    lines = [f"{name:<11}{value}" for name, value in rows]
    lines += ["", "command:", *(f"  {shlex.quote(word)}" for word in facts["argv"] or ["(none)"])]
    if facts["env"]:
        lines += ["", "environment, added to the daemon's own:", *(f"  {item}" for item in facts["env"])]
    return "\n".join(lines) + "\n"
