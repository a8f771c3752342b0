"""References that nothing replaced (step 7), and what the user probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import define

from swapd.config import nodes
from swapd.config.commands import is_comment
from swapd.config.environment import PLACEHOLDER
from swapd.config.macros import MODEL_ID, PID, PORT, REFERENCE, Macro, MacroTable
from swapd.config.nodes import Node, Scalar
from swapd.config.problems import KeyPath, ProblemLog, listed, quoted
from swapd.config.sources import SourceText

_MALFORMED = re.compile(r"\$\{env\.[^}]*\}", re.IGNORECASE)


def strings_with_references(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Scalar]]:
    """Every string of a tree that holds "${", with its key path."""
    if not node.has_references:
        return
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, nodes.Sequence):
        for index, item in enumerate(node.items):
            yield from strings_with_references(item, (*path, index))
    elif isinstance(node, nodes.Mapping):
        for name, value in node.items():
            yield from strings_with_references(value, (*path, name))


@define(eq=False)
class LeftoverSearch:
    """Reports leftovers; `locals` are the macro names that exist in single models only."""

    log: ProblemLog
    locals: Mapping[str, list[Macro]]

    def in_tree(self, node: Node, path: KeyPath, table: MacroTable) -> None:
        for at, scalar in strings_with_references(node, path):
            assert isinstance(scalar.value, str)
            for name in REFERENCE.findall(scalar.value):
                if not (name == PID and is_stop_command(at)):
                    self.report(scalar, name, at, table)
            for placeholder in _MALFORMED.findall(scalar.value):
                self._report_placeholder(placeholder, scalar, at)

    def in_model(self, id: str, model: nodes.Mapping, table: MacroTable) -> None:
        for name, value in model.items():
            if name != "macros":
                self.in_tree(value, ("models", id, name), table)
        filters = model.get("filters")
        block = filters.get("setParamsByID") if isinstance(filters, nodes.Mapping) else None
        if not isinstance(block, nodes.Mapping):
            return
        for name, entry in block.entries.items():
            for reference in REFERENCE.findall(name):
                self.report(entry.key, reference, ("models", id, "filters", "setParamsByID", name), table)

    def report(self, scalar: Scalar, name: str, path: KeyPath, table: MacroTable) -> None:
        span, via = _origin(scalar, name, path, table)
        notes = []
        if via is not None and via.definition is not None:
            notes.append(f"expanded from macro {via.name}, defined at {self.log.where(via.definition)}")
        self.log.error(
            "macro-unknown",
            f"${{{name}}} has no value here",
            at=scalar,
            span=span,
            path=path,
            hint=self._hint(name, path, via, table),
            notes=notes,
        )

    def _report_placeholder(self, placeholder: str, scalar: Scalar, path: KeyPath) -> None:
        match = PLACEHOLDER.fullmatch(placeholder)
        if match:
            self.log.error(
                "env-unset",
                f"the placeholder of the environment variable {match[1]} was not replaced",
                at=scalar,
                path=path,
                hint="placeholders are replaced where they are written, not where a macro assembles them",
            )
            return
        self.log.warning(
            "env-malformed",
            f"{quoted(placeholder)} is not a placeholder and stays as it is",
            at=scalar,
            span=_find(scalar, placeholder, path),
            path=path,
            hint="write ${env.NAME}: env in lower case, NAME of letters, digits and _, no digit first",
        )

    def _hint(self, name: str, path: KeyPath, via: Macro | None, table: MacroTable) -> str:
        in_model = path[:1] == ("models",)
        if name == PID:
            return "${PID} exists only in cmdStop, when the model is being stopped"
        if name == PORT:
            return (
                "a model has a port only if its cmd uses ${PORT}"
                if in_model
                else "${PORT} exists only inside a model"
            )
        if name == MODEL_ID:
            return "${MODEL_ID} exists only inside a model"
        if name in table.macros and via is not None:
            return f"a macro can only use those defined before it: move {name} above {via.name}"
        owners = [id for id, macros in self.locals.items() if any(macro.name == name for macro in macros)]
        if owners:
            return (
                f"it is defined only in model {listed((quoted(id) for id in owners[:3]), 'and')}; "
                "define it under the top-level macros to use it here"
            )
        from swapd.config.suggest import nearest

        similar = nearest(name, table.macros)
        if similar:
            return f"did you mean ${{{similar}}}?"
        if name.isupper():
            return f"for an environment variable write ${{env.{name}}}"
        return f"define {name} under macros; a literal $ needs no braces"


def is_stop_command(path: KeyPath) -> bool:
    return len(path) == 3 and path[0] == "models" and path[2] == "cmdStop"


def _is_command(path: KeyPath) -> bool:
    return len(path) == 3 and path[0] == "models" and path[2] in ("cmd", "cmdStop")


Span = tuple[SourceText, int, int]


def _origin(scalar: Scalar, name: str, path: KeyPath, table: MacroTable) -> tuple[Span | None, Macro | None]:
    """Where the reference stands in the file, and the macro it came out of when it is not written there."""
    written = scalar.original.value
    if isinstance(written, str):
        references = REFERENCE.findall(written)
        if name in references and name not in table.macros:
            return _find(scalar, f"${{{name}}}", path), None
        for reference in references:
            value, used = table.expand(f"${{{reference}}}", scalar)
            if used and isinstance(value, str) and f"${{{name}}}" in value:
                return _find(scalar, f"${{{reference}}}", path), _holder(name, used)
    return None, None


def _holder(name: str, used: list[Macro]) -> Macro:
    """The macro whose own text mentions the name."""
    for macro in used:
        if isinstance(macro.value, str) and f"${{{name}}}" in macro.value:
            return macro
    return used[0]


def _find(scalar: Scalar, wanted: str, path: KeyPath) -> Span | None:
    """The first place of a text inside a scalar that is not a comment line of a command."""
    source = scalar.source
    at = source.text.find(wanted, scalar.start, scalar.end)
    while at != -1:
        line_start = source.text.rfind("\n", 0, at) + 1
        if not (_is_command(path) and line_start > scalar.start and is_comment(source.text[line_start:at])):
            return source, at, at + len(wanted)
        at = source.text.find(wanted, at + 1, scalar.end)
    return None
