"""Macros: declaration (step 2) and replacement (steps 4 and 6).

A list of macros is walked once, from its end to its start, and each step replaces all occurrences of one
macro. So a macro may use those defined before it, a reference to a later one stays unresolved, and nothing
can loop. `MacroTable` does the same walk for one string at a time, looking only at macros it mentions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import define, field
from msgspec import Struct

from swapd.config.nodes import Entry, Mapping, Node, Scalar, Sequence, Timestamp, Value, is_null, kind_of
from swapd.config.problems import KeyPath, ProblemLog, quoted
from swapd.config.scalars import text_of

REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_-]+)\}")
MODEL_ID = "MODEL_ID"
PORT = "PORT"
PID = "PID"
RESERVED = (PID, PORT, MODEL_ID)
MAX_NAME = 63
MAX_EXPANSION = 1 << 20  # characters; macros that double each other must not eat the memory
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


class Macro(Struct, frozen=True, eq=False):
    """A named value. `definition` is the node it was written at, None for a built-in name."""

    name: str
    value: Value
    definition: Scalar | None = None

    @property
    def text(self) -> str:
        return text_of(self.value)

    @property
    def from_environment(self) -> bool:
        return self.definition is not None and self.definition.from_environment


def declared(block: Node | None, path: KeyPath, model: str | None, log: ProblemLog) -> list[Macro]:
    """The macros of one `macros` block, checked; wrong ones are reported and left out."""
    if block is None or is_null(block):
        return []
    if not isinstance(block, Mapping):
        log.error(
            "macro-block",
            f"macros must be a mapping of names to values, not a {kind_of(block)}{_of_model(model)}",
            at=block,
            path=path,
            hint="write each as name: value on a line of its own, indented below macros:",
        )
        return []
    return [
        macro
        for name, entry in block.entries.items()
        if (macro := _declared(name, entry, (*path, name), model, log))
    ]


def _of_model(model: str | None) -> str:
    return "" if model is None else f" (model {quoted(model)})"


def _declared(name: str, entry: Entry, path: KeyPath, model: str | None, log: ProblemLog) -> Macro | None:
    where = _of_model(model)
    if not 1 <= len(name) <= MAX_NAME:
        log.error(
            "macro-name",
            f"the macro name {quoted(name)} has {len(name)} characters{where}",
            at=entry.key,
            path=path,
            hint=f"a macro name has 1 to {MAX_NAME} characters",
        )
        return None
    if not _NAME.fullmatch(name):
        log.error(
            "macro-name",
            f"{quoted(name)} cannot be a macro name{where}",
            at=entry.key,
            path=path,
            hint="use letters, digits, - and _ only",
        )
        return None
    value = entry.value
    if not isinstance(value, Scalar) or is_null(value) or isinstance(value.value, Timestamp):
        log.error(
            "macro-type",
            f"the macro {name} {'has no value' if is_null(value) else f'is a {kind_of(value)}'}{where}",
            at=value if not is_null(value) else entry.key,
            path=path,
            hint="a macro holds a string, an int, a float or a bool; quote other values",
        )
        return None
    if isinstance(value.value, str) and f"${{{name}}}" in value.value:
        log.error(
            "macro-self",
            f"the macro {name} refers to itself{where}",
            at=value,
            path=path,
            hint="a macro can use macros that are defined before it, never itself",
        )
        return None
    if name in RESERVED:
        log.error(
            "macro-reserved",
            f"the macro name {name} is reserved{where}",
            at=entry.key,
            path=path,
            hint="PORT, PID and MODEL_ID are supplied by swapd; choose another name",
        )
        return None
    return Macro(name, value.value, value)


@define(eq=False)
class MacroTable:
    """An ordered list of macros and the walk over it. `too_long` are the values that grew beyond reason."""

    macros: dict[str, Macro]
    too_long: list[tuple[Scalar, Macro]] = field(factory=list)
    _index: dict[str, int] = field(factory=dict)

    @classmethod
    def of(cls, macros: Iterable[Macro]) -> MacroTable:
        return cls({macro.name: macro for macro in macros})

    def for_model(self, model: str, local: Iterable[Macro]) -> MacroTable:
        """`MODEL_ID`, then these macros with local values in the places of equal names, then the rest."""
        macros = {MODEL_ID: Macro(MODEL_ID, model), **self.macros}
        macros.update((macro.name, macro) for macro in local)
        return MacroTable(macros)

    def __attrs_post_init__(self) -> None:
        self._index = {name: index for index, name in enumerate(self.macros)}

    def replace(self, node: Node) -> Node:
        """The node with every reference in its values replaced; mapping keys are left alone."""
        if not node.has_references:
            return node
        if isinstance(node, Scalar):
            return self._replace_scalar(node)
        if isinstance(node, Sequence):
            return Sequence(node.source, node.start, node.end, [self.replace(item) for item in node.items])
        assert isinstance(node, Mapping)
        return node.with_entries(
            {key: Entry(entry.key, self.replace(entry.value)) for key, entry in node.entries.items()}
        )

    def _replace_scalar(self, scalar: Scalar) -> Scalar:
        assert isinstance(scalar.value, str)
        value, used = self.expand(scalar.value, scalar)
        if not used:
            return scalar
        definition = used[-1].definition
        text = text_of(value) if definition is None or isinstance(value, str) else definition.text
        from_environment = any(macro.from_environment for macro in used)
        macros = tuple((macro.name, macro.definition) for macro in used if macro.definition is not None)
        return scalar.replaced(value, text, from_environment=from_environment, macros=macros)

    def expand_key(self, scalar: Scalar) -> Scalar:
        """A mapping key with its references replaced as text."""
        value, used = self.expand(scalar.text, scalar)
        if not used:
            return scalar
        text = text_of(value)
        return scalar.replaced(text, text, from_environment=False)

    def expand(self, text: str, at: Scalar) -> tuple[Value, list[Macro]]:
        """What a string becomes, and the macros used in the order of their replacement."""
        used: list[Macro] = []
        bound = len(self.macros)
        while True:
            name = self._last_reference(text, bound)
            if name is None:
                return text, used
            macro = self.macros[name]
            used.append(macro)
            reference = f"${{{name}}}"
            if text == reference:
                if not isinstance(macro.value, str):
                    return macro.value, used
                text = macro.value
            else:
                size = len(text) + text.count(reference) * (len(macro.text) - len(reference))
                if size > MAX_EXPANSION:
                    self.too_long.append((at, used[0]))
                    return "", used
                text = text.replace(reference, macro.text)
            bound = self._index[name]

    def _last_reference(self, text: str, bound: int) -> str | None:
        """The referenced macro that stands last in the list, before `bound`."""
        last, found = -1, None
        for name in REFERENCE.findall(text):
            index = self._index.get(name, -1)
            if last < index < bound:
                last, found = index, name
        return found
