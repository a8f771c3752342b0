"""From the merged document to one without macros (steps 2 to 7 of a load)."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC

from attrs import define, field
from msgspec import Struct

from swapd.config.commands import without_comments
from swapd.config.leftovers import LeftoverSearch
from swapd.config.macros import MAX_EXPANSION, PORT, REFERENCE, Macro, MacroTable, declared
from swapd.config.model import DEFAULT_PROXY
from swapd.config.nodes import Entry, Mapping, Node, Scalar, is_null, path_of
from swapd.config.ports import PortsBefore, assign_ports
from swapd.config.problems import KeyPath, ProblemLog, quoted
from swapd.config.scalars import text_of

_COMMANDS = ("cmd", "cmdStop")


class PreparedModel(Struct, frozen=True, eq=False):
    """A model before typing: its port, and its keys with `${PORT}` still in place."""

    port: int | None
    launch: Mapping | None


@define(eq=False)
class Prepared:
    """The document after replacement; `models` by ID."""

    root: Mapping
    models: dict[str, PreparedModel] = field(factory=dict)
    macros: dict[str, Macro] = field(factory=dict)


def prepare(
    root: Mapping, known_keys: MappingABC[str, object], ports: PortsBefore, log: ProblemLog
) -> Prepared | None:
    """Run the steps; None when one of them found an error."""
    preparation = _Preparation(root, known_keys, ports, log)
    steps = (
        (2, preparation.declare_macros),
        (3, preparation.add_defaults),
        (4, preparation.replace_global),
        (5, preparation.check_start_port),
        (6, preparation.replace_in_models),
        (7, preparation.report_leftovers),
    )
    for number, step in steps:
        log.step = number
        step()
        if log.failed():
            return None
    return preparation.result()


@define(eq=False)
class _Preparation:
    root: Mapping
    known_keys: MappingABC[str, object]
    ports_before: PortsBefore
    log: ProblemLog
    globals: MacroTable = field(init=False)
    locals: dict[str, list[Macro]] = field(factory=dict)
    entries: dict[str, Entry] = field(factory=dict)
    models: dict[str, Entry] = field(factory=dict)
    prepared: dict[str, PreparedModel] = field(factory=dict)
    start_port: int = 5800

    def __attrs_post_init__(self) -> None:
        self.entries = dict(self.root.entries)
        models = self.root.get("models")
        if isinstance(models, Mapping):
            self.models = dict(models.entries)

    def result(self) -> Prepared:
        models = self.root.get("models")
        if isinstance(models, Mapping):
            self.entries["models"] = Entry(self.entries["models"].key, models.with_entries(self.models))
        return Prepared(self.root.with_entries(self.entries), self.prepared, self.globals.macros)

    def declare_macros(self) -> None:
        self.globals = MacroTable.of(declared(self.root.get("macros"), ("macros",), None, self.log))
        for id, entry in self.models.items():
            if isinstance(entry.value, Mapping):
                block = entry.value.get("macros")
                if block is not None:
                    self.locals[id] = declared(block, ("models", id, "macros"), id, self.log)

    def add_defaults(self) -> None:
        """Drop command comments, which neither count nor expand, and write the default proxy out."""
        for id, entry in self.models.items():
            if isinstance(entry.value, Mapping):
                self.models[id] = Entry(entry.key, _with_defaults(entry.key, entry.value))

    def replace_global(self) -> None:
        for name, entry in self.entries.items():
            if name not in ("macros", "models") and entry.value.has_references:
                self.entries[name] = Entry(entry.key, self.globals.replace(entry.value))
                self._report_too_long(self.globals, (name,), entry.value)

    def check_start_port(self) -> None:
        """Read startPort early, as ports are numbered before anything has a type."""
        entry = self.entries.get("startPort")
        value = entry.value.value if entry is not None and isinstance(entry.value, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            return  # absent, or of a wrong type, which is reported with all the others
        if value < 1:
            assert entry is not None
            self.log.error(
                "start-port",
                f"startPort cannot be {text_of(value)}",
                at=entry.value,
                path=("startPort",),
                hint="permitted: 1 and above; the default is 5800",
            )
            return
        self.start_port = int(min(value, 1 << 31))

    def replace_in_models(self) -> None:
        asking: dict[str, Mapping] = {}
        for id in sorted(self.models):
            entry = self.models[id]
            if not isinstance(entry.value, Mapping):
                continue
            model = self._replace_in_model(id, entry.value)
            self.models[id] = Entry(entry.key, model)
            self.prepared[id] = PreparedModel(None, None)
            if _mentions_port(model.get("cmd")):
                asking[id] = model
            elif _mentions_port(model.get("proxy")):
                self._report_port_proxy_only(id, entry, model)
        before = self.ports_before
        for id, port in assign_ports(self.start_port, asking, before.assigned, before.busy).items():
            self._set_port(id, asking[id], port)

    def _replace_in_model(self, id: str, model: Mapping) -> Mapping:
        if not model.has_references and not _has_key_references(model):
            return model
        table = self.globals.for_model(id, self.locals.get(id, ()))
        replaced = self._with_keys_replaced(id, _replace_values(table, model), table)
        self._report_too_long(table, ("models", id), model)
        return replaced

    def _report_too_long(self, table: MacroTable, path: KeyPath, tree: Node) -> None:
        for scalar, macro in table.too_long:
            self.log.error(
                "macro-size",
                f"the macro {macro.name} makes this value longer than {MAX_EXPANSION} characters",
                at=scalar,
                path=(*path, *(path_of(tree, scalar) or ())),
                hint="macros that use one another several times multiply their length",
            )
        table.too_long.clear()

    def _set_port(self, id: str, model: Mapping, port: int) -> None:
        table = MacroTable.of([Macro(PORT, port)])
        entry = self.models[id]
        replaced = self._with_keys_replaced(id, _replace_values(table, model), table)
        self.models[id] = Entry(entry.key, replaced)
        self.prepared[id] = PreparedModel(port, model)
        if port > 65535:
            self.log.warning(
                "port-range",
                f"the model {quoted(id)} would get port {port}, which does not exist",
                at=entry.key,
                path=("models", id),
                hint="lower startPort",
            )

    def _with_keys_replaced(self, id: str, model: Mapping, table: MacroTable) -> Mapping:
        """Replace references in the keys of filters.setParamsByID, the only keys they count in."""
        filters = model.get("filters")
        block = filters.get("setParamsByID") if isinstance(filters, Mapping) else None
        if not isinstance(block, Mapping) or not any("${" in name for name in block.entries):
            return model
        assert isinstance(filters, Mapping)
        entries: dict[str, Entry] = {}
        for name, entry in block.entries.items():
            key = table.expand_key(entry.key) if "${" in name else entry.key
            known = entries.setdefault(key.text, Entry(key, entry.value))
            if known.key is not key:
                first, second = known.key.original.text, key.original.text
                self.log.error(
                    "setbyid-collide",
                    f"the keys {quoted(first)} and {quoted(second)} of model {quoted(id)} both become "
                    f"{quoted(key.text)}",
                    at=entry.key,
                    path=("models", id, "filters", "setParamsByID", second),
                    hint="give them different names",
                )
        filters = _with_entry(filters, "setParamsByID", block.with_entries(entries))
        return _with_entry(model, "filters", filters)

    def _report_port_proxy_only(self, id: str, entry: Entry, model: Mapping) -> None:
        proxy = model.get("proxy")
        assert proxy is not None
        written = proxy.start != entry.key.start
        uses = "uses ${PORT}" if written else "is http://localhost:${PORT} by default"
        cmd = model.get("cmd")
        text = cmd.value if isinstance(cmd, Scalar) and isinstance(cmd.value, str) else ""
        others = REFERENCE.findall(text)
        notes = [f"${{{name}}} in cmd has no value; did you mean ${{PORT}}?" for name in others[:1]]
        self.log.error(
            "port-proxy-only",
            f"the proxy of model {quoted(id)} {uses}, but its cmd does not ask for a port",
            at=proxy,
            path=("models", id, "proxy"),
            hint="set proxy to the address the server listens on, or use ${PORT} in cmd",
            notes=notes,
        )

    def report_leftovers(self) -> None:
        search = LeftoverSearch(self.log, self.locals)
        for name, entry in self.entries.items():
            if name in self.known_keys and name not in ("macros", "models"):
                search.in_tree(entry.value, (name,), self.globals)
        for id in sorted(self.models):
            model = self.models[id].value
            if isinstance(model, Mapping) and (model.has_references or _has_key_references(model)):
                table = self.globals.for_model(id, self.locals.get(id, ()))
                search.in_model(id, model, table)


def _with_defaults(key: Scalar, model: Mapping) -> Mapping:
    entries = dict(model.entries)
    for name in _COMMANDS:
        entry = entries.get(name)
        if entry is not None and isinstance(entry.value, Scalar) and isinstance(entry.value.value, str):
            text = without_comments(entry.value.value)
            if text != entry.value.value:
                entries[name] = Entry(entry.key, entry.value.replaced(text, text, from_environment=False))
    if is_null(model.get("proxy")):
        default = Scalar(key.source, key.start, key.end, DEFAULT_PROXY, DEFAULT_PROXY)
        entries["proxy"] = Entry(key, default)
    return model.with_entries(entries)


def _replace_values(table: MacroTable, model: Mapping) -> Mapping:
    """Replace in every value of a model but its macro block."""
    return model.with_entries(
        {
            name: entry if name == "macros" else Entry(entry.key, table.replace(entry.value))
            for name, entry in model.entries.items()
        }
    )


def _with_entry(mapping: Mapping, name: str, value: Node) -> Mapping:
    return mapping.with_entries({**mapping.entries, name: Entry(mapping.entries[name].key, value)})


def _mentions_port(node: Node | None) -> bool:
    return isinstance(node, Scalar) and isinstance(node.value, str) and "${PORT}" in node.value


def _has_key_references(model: Mapping) -> bool:
    filters = model.get("filters")
    block = filters.get("setParamsByID") if isinstance(filters, Mapping) else None
    return isinstance(block, Mapping) and any("${" in name for name in block.entries)
