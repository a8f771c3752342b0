"""Which models may run together, from either place it may be written in (steps 12 and 13)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define

from swapd.config.build_matrix import build_matrix
from swapd.config.configuration import RootKeys
from swapd.config.frozen import FrozenMap
from swapd.config.locate import Places
from swapd.config.problems import KeyPath, listed, quoted
from swapd.config.routing import DEFAULT_GROUP, Group, GroupKeys, Matrix, MatrixKeys, Routing

ENGINES = ("group", "matrix", "memory")
_NEW_SETTINGS = ("routing", "router", "settings")


@define(eq=False)
class _Choice:
    """The engine in use, and where its settings are written."""

    engine: str
    groups: Mapping[str, GroupKeys]
    groups_path: KeyPath
    matrix: MatrixKeys | None
    matrix_path: KeyPath


def build_routing(keys: RootKeys, names: Mapping[str, str], places: Places) -> Routing:
    """The routing in force; `names` maps model IDs and aliases to model IDs."""
    places.log.step = 12
    choice = _choose(keys, places)
    if choice is None:
        return Routing()
    groups: FrozenMap[str, Group] = FrozenMap()
    matrix: Matrix | None = None
    if choice.engine == "group":
        groups = _build_groups(choice, keys, names, places)
    elif choice.engine == "matrix":
        if choice.matrix is None:
            places.error(
                "router-no-matrix",
                ("routing", "router", "use"),
                "routing.router.use is matrix, but there is no routing.router.settings.matrix",
                "describe the matrix there, or use group",
            )
            return Routing()
        matrix = build_matrix(choice.matrix, choice.matrix_path, keys.models, names, places)
    if places.log.failed():
        return Routing()
    places.log.step = 13
    fifo = keys.routing.scheduler.settings.fifo
    return Routing(
        choice.engine,
        groups,
        matrix,
        keys.routing.router.settings.memory,
        _priorities(keys, names, places),
        fifo.max_wait_s,
        fifo.min_loaded_s,
    )


def _choose(keys: RootKeys, places: Places) -> _Choice | None:
    router = keys.routing.router
    settings = router.settings
    old_groups, old_matrix = bool(keys.groups), keys.matrix is not None
    new = bool(router.use) or settings.matrix is not None or bool(settings.groups)
    if (old_groups or old_matrix) and new:
        old_key = "groups" if old_groups else "matrix"
        places.error(
            "routing-both-styles",
            (old_key,),
            f"{old_key} stands at the top level and routing.router is used as well",
            f"migrate: move the content of {old_key} to routing.router.settings.{old_key} and remove it here",
            key=True,
        )
        return None
    if old_groups and old_matrix:
        places.error(
            "routing-both-engines",
            ("matrix",),
            "groups and matrix stand at the top level together, but only one can decide",
            "keep one of them, or put both under routing.router.settings and choose with routing.router.use",
            key=True,
        )
        return None
    if old_groups or old_matrix:
        engine = "matrix" if old_matrix else "group"
        return _Choice(engine, keys.groups, ("groups",), keys.matrix, ("matrix",))
    return _choose_new(keys, places)


def _choose_new(keys: RootKeys, places: Places) -> _Choice | None:
    router = keys.routing.router
    engine = router.use or "group"
    if engine not in ENGINES:
        from swapd.config.suggest import did_you_mean

        places.error(
            "router-unknown",
            ("routing", "router", "use"),
            f"there is no router {quoted(engine)}",
            f"{did_you_mean(engine, ENGINES)} permitted: {listed(ENGINES)}".strip(),
        )
        return None
    if not router.use and router.settings.matrix is not None:
        places.warning(
            "no-effect",
            (*_NEW_SETTINGS, "matrix"),
            "this matrix is ignored, as routing.router.use does not choose it",
            "set routing.router.use to matrix",
            key=True,
        )
    return _Choice(
        engine,
        router.settings.groups,
        (*_NEW_SETTINGS, "groups"),
        router.settings.matrix,
        (*_NEW_SETTINGS, "matrix"),
    )


def _build_groups(
    choice: _Choice, keys: RootKeys, names: Mapping[str, str], places: Places
) -> FrozenMap[str, Group]:
    owner: dict[str, str] = {}
    groups: dict[str, Group] = {}
    for name, written in choice.groups.items():
        path = (*choice.groups_path, name)
        if name == DEFAULT_GROUP:
            places.warning(
                "reserved-name",
                path,
                f"the group {DEFAULT_GROUP} is the one of the models in no group; this one is ignored",
                "choose another name",
                key=True,
            )
            continue
        members = _members(name, written, path, owner, keys, names, places)
        groups[name] = Group(name, members, written.swap, written.exclusive, written.persistent)
    ungrouped = tuple(id for id in sorted(keys.models) if id not in owner)
    groups[DEFAULT_GROUP] = Group(DEFAULT_GROUP, ungrouped)
    return FrozenMap(groups)


def _members(
    group: str,
    written: GroupKeys,
    path: KeyPath,
    owner: dict[str, str],
    keys: RootKeys,
    names: Mapping[str, str],
    places: Places,
) -> tuple[str, ...]:
    kept: list[str] = []
    for index, member in enumerate(written.members):
        at = (*path, "members", index)
        if member in kept:
            places.error(
                "group-dup-member",
                at,
                f"{quoted(member)} appears twice in the group {quoted(group)}",
                "remove one of them",
            )
        elif member in owner:
            places.error(
                "group-multi",
                at,
                f"{quoted(member)} is in the groups {quoted(owner[member])} and {quoted(group)}",
                "a model may be in one group only",
            )
        elif member in keys.models:
            owner[member] = group
            kept.append(member)
        elif member in names:
            places.warning(
                "group-alias",
                at,
                f"{quoted(member)} in the group {quoted(group)} is an alias and is ignored",
                f"write the model ID {quoted(names[member])}",
            )
        else:
            _refuse_unknown_member(member, group, at, keys, places)
    return tuple(kept)


def _refuse_unknown_member(member: str, group: str, at: KeyPath, keys: RootKeys, places: Places) -> None:
    from swapd.config.suggest import did_you_mean

    places.error(
        "group-unknown-member",
        at,
        f"{quoted(member)} in the group {quoted(group)} is not a model",
        did_you_mean(member, keys.models) or "members are model IDs",
    )


def _priorities(keys: RootKeys, names: Mapping[str, str], places: Places) -> FrozenMap[str, int]:
    scheduler = keys.routing.scheduler
    if scheduler.use not in ("", "fifo"):
        places.error(
            "scheduler-unknown",
            ("routing", "scheduler", "use"),
            f"there is no scheduler {quoted(scheduler.use)}",
            "permitted: fifo",
        )
    priorities: dict[str, int] = {}
    own: set[str] = set()
    for name, priority in scheduler.settings.fifo.priority.items():
        model = names.get(name)
        if model is None:
            from swapd.config.suggest import did_you_mean

            places.error(
                "priority-unknown",
                ("routing", "scheduler", "settings", "fifo", "priority", name),
                f"{quoted(name)} is neither a model nor an alias",
                did_you_mean(name, names) or "priorities are for models of this configuration only",
                key=True,
            )
        elif model == name or model not in own:
            priorities[model] = priority
            if model == name:
                own.add(model)
    return FrozenMap(priorities)
