"""Which models may run together: the keys as written, and the one form they all lead to."""

# ruff: noqa: RUF009 - `key()` and the frozen sections it defaults to are immutable

from __future__ import annotations

from attrs import frozen

from swapd.config.declare import Section, key
from swapd.config.expressions import Expression
from swapd.config.frozen import EMPTY, FrozenMap
from swapd.config.kinds import Bool, Int, ListOf, MapOf, Seconds, Size, Text
from swapd.config.special_kinds import AutoOr, Either

DEFAULT_GROUP = "(default)"


@frozen
class GroupKeys:
    """A group of models."""

    members: tuple[str, ...] = key(
        "members", ListOf(Text()), "IDs of the models in it.", default=(), example="[chat, coder]"
    )
    swap: bool = key(
        "swap",
        Bool(),
        "With `true` one member runs at a time, with `false` members run side by side.",
        default=True,
    )
    exclusive: bool = key(
        "exclusive",
        Bool(),
        "Starting a member stops the models of all other groups that are not persistent.",
        default=True,
    )
    persistent: bool = key("persistent", Bool(), "Other groups never stop its members.", default=False)


@frozen
class MatrixKeys:
    """Sets of models that may run together, written as expressions."""

    sets: FrozenMap[str, str] = key(
        "sets",
        MapOf(Text()),
        "Name to expression: `a & b` run together, `a | b` are alternatives, `+set` stands for another set.",
        default=EMPTY,
        default_text="required",
        example="{day: chat & (embed | rerank)}",
    )
    vars: FrozenMap[str, str] = key(
        "vars",
        MapOf(Text()),
        "Short names for model IDs, for use in the expressions.",
        default=EMPTY,
        example='{q: "qwen/8b"}',
    )
    evict_costs: FrozenMap[str, int] = key(
        "evict_costs",
        MapOf(Int()),
        "What stopping a model costs; models not listed cost 1.",
        default=EMPTY,
        example="{chat: 5}",
    )


@frozen
class MemorySettings:
    """Budgets of the memory policy."""

    budgets: str | FrozenMap[str, int] = key(
        "budgets",
        AutoOr(MapOf(Size(), key="device")),
        "Memory that models may use per device.",
        default="auto",
        example="{gpu0: 22GiB}",
    )
    reserve: int | FrozenMap[str, int] = key(
        "reserve",
        Either(Size(), MapOf(Size(), key="device")),
        "Memory kept free of an `auto` budget.",
        default=0,
        example="1GiB",
    )


GROUPS = MapOf(Section(GroupKeys, null_gives=GroupKeys(swap=False, exclusive=False)))


@frozen
class RouterSettings:
    """Settings of the engines; only those of the engine in use count."""

    groups: FrozenMap[str, GroupKeys] = key("groups", GROUPS, "Groups of models.", default=EMPTY)
    matrix: MatrixKeys | None = key("matrix", Section(MatrixKeys), "The matrix.", default=None)
    memory: MemorySettings = key(
        "memory", Section(MemorySettings), "The memory policy.", default=MemorySettings(), extension=True
    )


@frozen
class Router:
    """The engine that decides which models may run together."""

    use: str = key(
        "use",
        Text(),
        "`group`: groups of models that stop each other. `matrix`: sets of models that may run together. "
        "`memory`: what fits into memory may run.",
        default="",
        default_text="`group`",
        example="matrix",
    )
    settings: RouterSettings = key(
        "settings", Section(RouterSettings), "Settings of the engines.", default=RouterSettings()
    )


@frozen
class Fifo:
    """The queue."""

    priority: FrozenMap[str, int] = key(
        "priority",
        MapOf(Int()),
        "Name to priority; higher goes first, 0 is usual.",
        default=EMPTY,
        example="{chat: 10}",
    )
    max_wait_s: float = key(
        "maxWait",
        Seconds(),
        "Longest wait behind a busy model; 0 is without limit.",
        default=120.0,
        extension=True,
        example="5m",
    )
    min_loaded_s: float = key(
        "minLoaded",
        Seconds(),
        "Shortest stay of a model that others want to evict.",
        default=0.0,
        extension=True,
        example="30s",
    )


@frozen
class SchedulerSettings:
    """Settings of the scheduler."""

    fifo: Fifo = key("fifo", Section(Fifo), "The queue.", default=Fifo())


@frozen
class Scheduler:
    """The order in which waiting requests are served."""

    use: str = key("use", Text(), "`fifo` is the only one.", default="", default_text="`fifo`")
    settings: SchedulerSettings = key(
        "settings", Section(SchedulerSettings), "Settings of the scheduler.", default=SchedulerSettings()
    )


@frozen
class RoutingKeys:
    """Which models may run together, and who goes first."""

    router: Router = key("router", Section(Router), "Which models may run together.", default=Router())
    scheduler: Scheduler = key("scheduler", Section(Scheduler), "Who goes first.", default=Scheduler())


@frozen
class Group:
    """A group in force: `members` are model IDs."""

    name: str
    members: tuple[str, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


@frozen
class MatrixSet:
    """One named expression."""

    name: str
    expression: Expression


@frozen
class Matrix:
    """The matrix in force: sets in the order that breaks ties, costs other than 1 by model ID."""

    sets: tuple[MatrixSet, ...]
    costs: FrozenMap[str, int] = EMPTY


@frozen
class Routing:
    """The routing in force.

    `engine` is "group", "matrix" or "memory". `groups` always holds the group `(default)` of the ungrouped
    models; it and `matrix` are only filled for their own engine.
    """

    engine: str = "group"
    groups: FrozenMap[str, Group] = FrozenMap({DEFAULT_GROUP: Group(DEFAULT_GROUP, ())})
    matrix: Matrix | None = None
    memory: MemorySettings = MemorySettings()
    priorities: FrozenMap[str, int] = EMPTY
    max_wait_s: float = 120.0
    min_loaded_s: float = 0.0

    def group_of(self, model: str) -> Group:
        """The group a model belongs to, `(default)` when it is in no other."""
        for group in self.groups.values():
            if model in group.members:
                return group
        return self.groups[DEFAULT_GROUP]
