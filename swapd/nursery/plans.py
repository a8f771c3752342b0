"""From the configuration to what the core and the launcher work with."""

from __future__ import annotations

from urllib.parse import urlsplit

from swapd.config import Config, ModelConfig, expressions
from swapd.nursery.breaker import BreakerSettings
from swapd.nursery.events import AbandonLoad, ModelRules, Settings
from swapd.nursery.instance import InstanceSpec, Liveness
from swapd.nursery.launcher import LaunchSpec
from swapd.nursery.policy import Policy, matrix
from swapd.nursery.policy.group import Group, GroupPolicy
from swapd.nursery.policy.matrix import MatrixPolicy
from swapd.nursery.prober import check_url

DETACHED_INTERVAL_S = 2.0
"""How often a server whose command has gone is asked whether it still lives."""


def rules_for(config: Config) -> dict[str, ModelRules]:
    """What the scheduler has to know of each model."""
    return {id: _rules(config, model) for id, model in config.models.items()}


def _rules(config: Config, model: ModelConfig) -> ModelRules:
    return ModelRules(
        ttl_s=0 if model.keep_loaded else model.ttl_s,
        unload_timeout_s=model.unload_timeout_s,
        concurrency_limit=model.concurrency_limit,
        priority=config.routing.priorities.get(model.id, 0),
        max_wait_s=model.max_wait_s,
        queue_timeout_s=model.queue_timeout_s,
        auto_restart=model.auto_restart,
        launch=model.fingerprint,
    )


def settings_for(config: Config) -> Settings:
    """What the scheduler has to know beside the models."""
    restart = config.restart
    return Settings(
        policy=policy_for(config),
        min_loaded_s=config.routing.min_loaded_s,
        abandon_load=AbandonLoad(config.abandon_load),
        reload_drain_s=config.reload.drain_s,
        breaker=BreakerSettings(
            restart.threshold, restart.base_s, restart.factor, restart.max_s, restart.stable_after_s
        ),
    )


def policy_for(config: Config) -> Policy:
    """The policy that the configuration selects."""
    routing = config.routing
    if routing.engine == "matrix" and routing.matrix is not None:
        sets = [(each.name, _expression(each.expression)) for each in routing.matrix.sets]
        return MatrixPolicy(sets, routing.matrix.costs)
    return GroupPolicy(
        Group(
            name=group.name,
            members=frozenset(group.members),
            swap=group.swap,
            exclusive=group.exclusive,
            persistent=group.persistent,
        )
        for group in routing.groups.values()
    )


def _expression(tree: expressions.Expression) -> matrix.Expression:
    match tree:
        case expressions.Model(id):
            return matrix.Leaf(id)
        case expressions.Reference(name):
            return matrix.Reference(name)
        case expressions.AnyOf(parts):
            return matrix.AnyOf(tuple(_expression(part) for part in parts))
        case expressions.AllOf(parts):
            return matrix.AllOf(tuple(_expression(part) for part in parts))


def instance_spec(model: ModelConfig, gen: int, instance_uuid: str) -> InstanceSpec:
    """How to start one instance of the model, and when it counts as ready."""
    launch = LaunchSpec(
        model=model.id,
        gen=gen,
        argv=model.argv,
        env=model.env,
        base_url=model.proxy.rstrip("/"),
        stop_argv=model.stop_argv,
        own_port=_own_port(model),
        instance_uuid=instance_uuid,
        detached=model.detached,
    )
    return InstanceSpec(
        launch=launch,
        check_url=check_url(model.proxy, _path_of(model.check_endpoint)),
        health_timeout_s=model.health_timeout_s,
        ready_hint=model.ready_hint,
        liveness=_liveness(model),
    )


def _liveness(model: ModelConfig) -> Liveness | None:
    """As configured; a server in the background is checked in any case, as there is no process to watch."""
    configured = model.health.liveness
    if configured.interval_s:
        return Liveness(configured.interval_s, configured.failures)
    return Liveness(DETACHED_INTERVAL_S, configured.failures) if model.detached else None


def _own_port(model: ModelConfig) -> int | None:
    """The assigned port, if the server itself is to listen there; a hand-written address is not our
    business.
    """
    try:
        in_use = urlsplit(model.proxy).port
    except ValueError:
        return None
    return model.port if model.port is not None and in_use == model.port else None


def _path_of(check_endpoint: str) -> str:
    """Of a `checkEndpoint` that is a whole URL only path and query count."""
    url = urlsplit(check_endpoint)
    return url._replace(scheme="", netloc="", fragment="").geturl() if url.netloc else check_endpoint
