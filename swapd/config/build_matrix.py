"""Checking and compiling the matrix (part of step 12)."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

from swapd.config.expressions import Expression, ExpressionError, parse_expression, references
from swapd.config.frozen import FrozenMap
from swapd.config.locate import Places
from swapd.config.nodes import Scalar
from swapd.config.problems import KeyPath, quoted
from swapd.config.routing import Matrix, MatrixKeys, MatrixSet
from swapd.config.sources import SourceText

_VAR_NAME = re.compile(r"[a-zA-Z0-9.-]{1,32}")


def build_matrix(
    written: MatrixKeys, path: KeyPath, models: Mapping[str, object], names: Mapping[str, str], places: Places
) -> Matrix | None:
    """The compiled matrix, or None when something is wrong with it."""
    if not written.sets:
        places.error(
            "matrix-no-sets",
            (*path, "sets"),
            "the matrix has no sets",
            "describe under sets which models may run together, e.g. day: chat & embed",
        )
    _check_vars(written, path, models, names, places)
    costs = _costs(written, path, models, names, places)
    if places.log.failed():
        return None
    expressions = _expressions(written, path, models, names, places)
    if places.log.failed():
        return None
    order = _order(expressions, path, places)
    return Matrix(tuple(MatrixSet(name, expressions[name]) for name in order), costs)


def _check_vars(
    written: MatrixKeys, path: KeyPath, models: Container[str], names: Mapping[str, str], places: Places
) -> None:
    for name, model in written.vars.items():
        at = (*path, "vars", name)
        if not _VAR_NAME.fullmatch(name):
            places.error(
                "matrix-var-name",
                at,
                f"{quoted(name)} cannot be the name of a var",
                "use 1 to 32 letters, digits, dots and dashes",
                key=True,
            )
        if model not in models:
            places.error(
                "matrix-var-model",
                at,
                f"the var {quoted(name)} stands for {quoted(model)}, which is not a model ID",
                _hint_for(model, models, names),
            )


def _costs(
    written: MatrixKeys, path: KeyPath, models: Container[str], names: Mapping[str, str], places: Places
) -> FrozenMap[str, int]:
    costs: dict[str, int] = {}
    given_as: dict[str, str] = {}
    for name, cost in written.evict_costs.items():
        at = (*path, "evict_costs", name)
        if cost <= 0:
            places.error("matrix-cost", at, f"the cost of {quoted(name)} is {cost}", "permitted: 1 and above")
            continue
        model = written.vars.get(name, name)
        if name not in written.vars and name not in models:
            places.error(
                "matrix-cost-key",
                at,
                f"{quoted(name)} is neither a var nor a model ID",
                _hint_for(name, {**written.vars, **dict.fromkeys(_iterable(models))}, names),
                key=True,
            )
            continue
        if costs.get(model, cost) != cost:
            places.error(
                "matrix-cost",
                at,
                f"the model {quoted(model)} costs {costs[model]} as {quoted(given_as[model])} and {cost} "
                f"as {quoted(name)}",
                "give one of them",
            )
        costs[model] = cost
        given_as[model] = name
    return FrozenMap({model: cost for model, cost in costs.items() if cost != 1})


def _expressions(
    written: MatrixKeys,
    path: KeyPath,
    models: Container[str],
    names: Mapping[str, str],
    places: Places,
) -> dict[str, Expression]:
    def model_of(ident: str) -> str | None:
        return written.vars.get(ident) or (ident if ident in models else None)

    expressions: dict[str, Expression] = {}
    for name, text in written.sets.items():
        try:
            expressions[name] = parse_expression(text, model_of, written.sets.__contains__)
        except ExpressionError as error:
            _report(error, name, text, (*path, "sets", name), written, models, names, places)
    return expressions


def _report(
    error: ExpressionError,
    name: str,
    text: str,
    path: KeyPath,
    written: MatrixKeys,
    models: Container[str],
    names: Mapping[str, str],
    places: Places,
) -> None:
    at, node = places.find(path)
    word = text[error.offset : error.offset + error.length]
    if error.code == "matrix-ident":
        hint = _hint_for(word, {**written.vars, **dict.fromkeys(_iterable(models))}, names)
    elif error.code == "matrix-ref":
        hint = _nearest_set(word.lstrip("+"), written.sets)
    elif word in ("/", ":"):
        hint = "a model ID with / or : can only be used through a var"
    else:
        hint = "an expression is made of models, +sets, & (together), | (or) and parentheses"
    places.log.error(
        error.code,
        f"set {quoted(name)}, character {error.offset + 1}: {error.message}",
        at=node,
        path=at,
        hint=hint,
        span=_span(node, text, error) if isinstance(node, Scalar) else None,
    )


def _iterable(models: Container[str]) -> Iterable[str]:
    return models if isinstance(models, Iterable) else ()


def _span(node: Scalar, text: str, error: ExpressionError) -> tuple[SourceText, int, int] | None:
    """The offending piece in the file, when the expression stands there character by character."""
    start = node.source.text.find(text, node.start, node.end)
    if not text or start == -1:
        return None
    offset = min(start + error.offset, node.end)
    return node.source, offset, offset + error.length


def _hint_for(word: str, known: Container[str], names: Mapping[str, str]) -> str:
    from swapd.config.suggest import did_you_mean

    if word in names:
        return (
            f"{quoted(word)} is an alias; write the model ID {quoted(names[word])}, through a var if need be"
        )
    return did_you_mean(word, _iterable(known)) or "aliases, selectors and models of peers are not known here"


def _nearest_set(word: str, sets: Iterable[str]) -> str:
    from swapd.config.suggest import did_you_mean

    return did_you_mean(word, sets) or "+ is followed by the name of a set of this matrix"


def _order(expressions: dict[str, Expression], path: KeyPath, places: Places) -> list[str]:
    """The sets in the order that breaks ties: what a set refers to stands before it. Reports cycles."""
    order: list[str] = []
    state: dict[str, bool] = {}  # False while its references are being visited, True when placed
    for root in expressions:
        if root in state:
            continue
        state[root] = False
        pending = [(root, references(expressions[root]))]
        while pending:
            name, rest = pending[-1]
            following = next(rest, None)
            if following is None:
                pending.pop()
                state[name] = True
                order.append(name)
            elif following not in state:
                state[following] = False
                pending.append((following, references(expressions[following])))
            elif not state[following]:
                _report_cycle([entry for entry, _ in pending], following, path, places)
    return order


def _report_cycle(chain: list[str], repeated: str, path: KeyPath, places: Places) -> None:
    cycle = [*chain[chain.index(repeated) :], repeated]
    places.error(
        "matrix-cycle",
        (*path, "sets", cycle[0]),
        f"the sets refer to each other in a circle: {' → '.join(cycle)}",
        "one of them must do without the others",
    )
