"""Matrix expressions: what they mean, and that their combinations are never written out."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapd.config import loads
from swapd.config.coexist import can_coexist
from swapd.config.expressions import (
    Expression,
    ExpressionError,
    models,
    parse_expression,
    references,
    sets_of,
)
from swapd.config.show import expression_text

MODELS = {"a": "a", "b": "b", "c": "c", "d-1.x": "d-1.x", "ü": "ü"}


def parsed(text: str) -> Expression:
    return parse_expression(text, MODELS.get, {"s", "t"}.__contains__)


OTHERS = {"s": parse_expression("a | b", MODELS.get, lambda _: False)}


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("a", [("a",)]),
        ("a | b", [("a",), ("b",)]),
        ("a & b", [("a", "b")]),
        ("a & a", [("a",)]),
        ("a | b & c", [("a",), ("b", "c")]),
        ("(a | b) & c", [("a", "c"), ("b", "c")]),
        ("(a | b) & (b | c)", [("a", "b"), ("a", "c"), ("b",), ("b", "c")]),
        ("+s & c", [("a", "c"), ("b", "c")]),
        ("  a\t&\n( b|d-1.x )", [("a", "b"), ("a", "d-1.x")]),
        ("ü", [("ü",)]),
        ("((a))", [("a",)]),
    ],
)
def test_what_an_expression_stands_for(text: str, sets: list[tuple[str, ...]]) -> None:
    assert list(sets_of(parsed(text), OTHERS)) == sets


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("", "matrix-dsl", 0),
        ("  ", "matrix-dsl", 0),
        ("a &", "matrix-dsl", 3),
        ("| a", "matrix-dsl", 0),
        ("a b", "matrix-dsl", 2),
        ("(a", "matrix-dsl", 2),
        ("a)", "matrix-dsl", 1),
        ("()", "matrix-dsl", 1),
        ("a & & b", "matrix-dsl", 4),
        ("+", "matrix-dsl", 0),
        ("+ s", "matrix-dsl", 0),
        ("a/b", "matrix-dsl", 1),
        ("a, b", "matrix-dsl", 1),
        ("nope", "matrix-ident", 0),
        ("a & nope", "matrix-ident", 4),
        ("+nope", "matrix-ref", 0),
        ("(" * 200 + "a" + ")" * 200, "matrix-dsl", 100),
    ],
)
def test_what_is_wrong_and_at_which_character(text: str, code: str, offset: int) -> None:
    with pytest.raises(ExpressionError) as error:
        parsed(text)
    assert (error.value.code, error.value.offset) == (code, offset)
    assert str(error.value)


TEXTS = st.recursive(
    st.sampled_from(["a", "b", "c", "+s"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" & ".join),
        st.lists(inner, min_size=2, max_size=3).map(" | ".join),
        inner.map("({})".format),
    ),
    max_leaves=8,
)


@given(TEXTS)
def test_an_expression_written_out_means_the_same(text: str) -> None:
    expression = parsed(text)
    again = parsed(expression_text(expression, {}))
    assert list(sets_of(again, OTHERS)) == list(sets_of(expression, OTHERS))
    assert again == expression
    assert set(models(expression)) <= set(MODELS)
    assert set(references(expression)) <= {"s"}


def test_ten_factors_of_ten_are_no_trouble() -> None:
    # Given ten thousand million combinations
    names = [[f"{letter}{n}" for n in range(10)] for letter in "abcdefghij"]
    text = " & ".join(f"({' | '.join(factor)})" for factor in names)
    ids = "".join(f"  {name}: {{cmd: 's ${{PORT}}'}}\n" for factor in names for name in factor)

    # When they are loaded, and asked who may run with whom
    config = loads(f"models:\n{ids}matrix: {{sets: {{all: '{text}'}}}}\n", environ={}).config

    # Then that takes no enumeration
    assert config is not None
    assert can_coexist([factor[3] for factor in names], config.routing, config.models)
    assert not can_coexist(["a1", "a2"], config.routing, config.models)


def test_who_may_run_together_agrees_with_the_sets_written_out() -> None:
    # Given a matrix small enough to be written out
    text = "models: {a: {cmd: 's ${PORT}'}, b: {cmd: 's ${PORT}'}, c: {cmd: 's ${PORT}'}}\n"
    sets = "matrix: {sets: {one: (a | b) & c, two: +one | a & b}}"
    config = loads(text + sets, environ={}).config
    assert config is not None
    assert config.routing.matrix is not None
    expressions = {entry.name: entry.expression for entry in config.routing.matrix.sets}
    written_out = [
        set(members) for expression in expressions.values() for members in sets_of(expression, expressions)
    ]

    # Then the answers are those of the sets
    for wanted in combinations("abc", 2):
        together = any(set(wanted) <= members for members in written_out)
        assert can_coexist(wanted, config.routing, config.models) is together


def test_sets_keep_their_order_behind_what_they_refer_to() -> None:
    text = "models: {a: {cmd: 's ${PORT}'}}\nmatrix: {sets: {z9: +z10, z10: a, b: a, c: +d, d: +b}}"
    config = loads(text, environ={}).config
    assert config is not None
    assert config.routing.matrix is not None
    assert [entry.name for entry in config.routing.matrix.sets] == ["z10", "z9", "b", "d", "c"]
