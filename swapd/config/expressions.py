"""Matrix expressions: which models may run together.

    expression = and-expr { "|" and-expr }
    and-expr   = atom { "&" atom }
    atom       = ident | "+" ident | "(" expression ")"

An expression stands for an ordered list of model sets. The list is never written out, as `&` multiplies:
what is kept is the tree. `sets_of` enumerates small ones for display and tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import TypeAlias

from attrs import define, frozen

MAX_NESTING = 100


@frozen
class Model:
    """The one set that holds just this model."""

    id: str


@frozen
class Reference:
    """The sets of another expression."""

    set: str


@frozen
class AnyOf:
    """The sets of each part in turn."""

    parts: tuple[Expression, ...]


@frozen
class AllOf:
    """Every union of one set of each part, the first part varying slowest."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = "Model | Reference | AnyOf | AllOf"


@frozen
class ExpressionError(Exception):
    """What is wrong, at which character (from 0), and how long the offending piece is."""

    code: str
    message: str
    offset: int
    length: int = 1

    def __str__(self) -> str:
        return self.message


@frozen
class Token:
    kind: str  # "ident", "reference", one of "&|()", or "end"
    text: str
    offset: int


def _is_ident_character(character: str) -> bool:
    return character.isalpha() or character.isdigit() or character in "_-."


def tokens(text: str) -> Iterator[Token]:
    """The tokens of an expression, ended by one of kind "end". Raises ExpressionError."""
    at = 0
    while at < len(text):
        character = text[at]
        if character.isspace():
            at += 1
        elif character in "&|()":
            yield Token(character, character, at)
            at += 1
        elif character == "+":
            end = _ident_end(text, at + 1)
            if end == at + 1:
                raise ExpressionError(
                    "matrix-dsl", "after + the name of a set is expected, without a space", at
                )
            yield Token("reference", text[at + 1 : end], at)
            at = end
        else:
            end = _ident_end(text, at)
            if end == at:
                raise ExpressionError("matrix-dsl", f'"{character}" is not allowed in an expression', at)
            yield Token("ident", text[at:end], at)
            at = end
    yield Token("end", "", len(text))


def _ident_end(text: str, start: int) -> int:
    end = start
    while end < len(text) and _is_ident_character(text[end]):
        end += 1
    return end


def parse_expression(
    text: str, model_of: Callable[[str], str | None], knows_set: Callable[[str], bool]
) -> Expression:
    """The tree of an expression. Raises ExpressionError at the first thing that is wrong.

    `model_of` gives the model an ident stands for; `knows_set` tells whether a set of that name exists.
    """
    if not text.strip():
        raise ExpressionError("matrix-dsl", "the expression is empty, a model or set is expected", 0)
    return _Parser(list(tokens(text)), model_of, knows_set).run()


@define
class _Parser:
    tokens: list[Token]
    model_of: Callable[[str], str | None]
    knows_set: Callable[[str], bool]
    at: int = 0
    depth: int = 0

    def run(self) -> Expression:
        expression = self._any_of()
        token = self.tokens[self.at]
        if token.kind == ")":
            raise ExpressionError("matrix-dsl", "this ) closes nothing", token.offset)
        if token.kind != "end":
            raise ExpressionError(
                "matrix-dsl", f'& or | is expected before "{token.text}"', token.offset, len(token.text)
            )
        return expression

    def _any_of(self) -> Expression:
        parts = [self._all_of()]
        while self.tokens[self.at].kind == "|":
            self.at += 1
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all_of(self) -> Expression:
        parts = [self._atom()]
        while self.tokens[self.at].kind == "&":
            self.at += 1
            parts.append(self._atom())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _atom(self) -> Expression:
        token = self.tokens[self.at]
        if token.kind == "ident":
            self.at += 1
            model = self.model_of(token.text)
            if model is None:
                raise ExpressionError(
                    "matrix-ident",
                    f'"{token.text}" is neither a var nor a model ID',
                    token.offset,
                    len(token.text),
                )
            return Model(model)
        if token.kind == "reference":
            self.at += 1
            if not self.knows_set(token.text):
                raise ExpressionError(
                    "matrix-ref", f'there is no set "{token.text}"', token.offset, len(token.text) + 1
                )
            return Reference(token.text)
        if token.kind == "(":
            return self._group(token)
        what = "the end" if token.kind == "end" else f'"{token.text}"'
        raise ExpressionError("matrix-dsl", f"a model, +set or ( is expected before {what}", token.offset)

    def _group(self, opening: Token) -> Expression:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise ExpressionError(
                "matrix-dsl", f"parentheses are nested deeper than {MAX_NESTING}", opening.offset
            )
        self.at += 1
        expression = self._any_of()
        closing = self.tokens[self.at]
        if closing.kind != ")":
            shown = "the end" if closing.kind == "end" else f'"{closing.text}"'
            raise ExpressionError("matrix-dsl", f") is expected before {shown}", closing.offset)
        self.at += 1
        self.depth -= 1
        return expression


def references(expression: Expression) -> Iterator[str]:
    """The sets an expression refers to, in order of appearance."""
    if isinstance(expression, Reference):
        yield expression.set
    elif isinstance(expression, (AnyOf, AllOf)):
        for part in expression.parts:
            yield from references(part)


def models(expression: Expression) -> Iterator[str]:
    """The models named in an expression itself, without those of the sets it refers to."""
    if isinstance(expression, Model):
        yield expression.id
    elif isinstance(expression, (AnyOf, AllOf)):
        for part in expression.parts:
            yield from models(part)


def sets_of(expression: Expression, others: dict[str, Expression]) -> Iterator[tuple[str, ...]]:
    """The model sets of an expression in order, each model once. For small expressions only."""
    if isinstance(expression, Model):
        yield (expression.id,)
    elif isinstance(expression, Reference):
        yield from sets_of(others[expression.set], others)
    elif isinstance(expression, AnyOf):
        for part in expression.parts:
            yield from sets_of(part, others)
    else:
        for combination in product(*(list(sets_of(part, others)) for part in expression.parts)):
            yield tuple(dict.fromkeys(model for chosen in combination for model in chosen))
