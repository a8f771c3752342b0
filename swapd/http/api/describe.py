"""How a handler says what it takes and what it answers, for the OpenAPI description.

The description stands at the handler, as a decorator; `swapd.http.api.openapi` makes the document of it. The
schemas are JSON Schema (2020-12), as OpenAPI 3.1 has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct, field

Schema = Mapping[str, Any]

STRING: Final[Schema] = {"type": "string"}
INTEGER: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
ANY_OBJECT: Final[Schema] = {"type": "object"}
STRINGS: Final[Schema] = {"type": "array", "items": STRING}
FLAG: Final[Schema] = {"type": "string", "enum": ["0", "1", "true", "false"]}
NOT_EMPTY: Final[Schema] = {"type": "string", "minLength": 1}

SCHEMAS: Final[dict[str, Schema]] = {}
"""Schemas with a name, which others refer to."""


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def obj(members: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object that has these members, and perhaps the optional ones; clients must let others pass."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
    }


def named(name: str, schema: Schema) -> Schema:
    """Gives a schema a name in the document; returns the reference to it."""
    SCHEMAS[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}


ERROR: Final = named(
    "Error",
    obj(
        {
            "src": {"const": "swapd"},
            "error": obj(
                {"message": STRING, "type": STRING, "code": STRING, "param": {"type": ["string", "null"]}}
            ),
        },
        {"type": STRING, "request_id": STRING},
    ),
)

Content = Mapping[str, Schema]
"""Media type → schema of a body."""


def json(schema: Schema) -> Content:
    return {"application/json": schema}


TEXT: Final[Content] = {"text/plain": STRING}
NO_CONTENT: Final[Content] = {}


class Operation(Struct, frozen=True):
    """What one method of one path does, takes and answers."""

    summary: str
    answers: Mapping[int, Content]
    """Status → body, of success and of what is no error of ours."""
    errors: tuple[int, ...] = ()
    """Statuses that come with the usual envelope; those of keys are added where a key is needed."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Content | None = None


_DESCRIBED: WeakKeyDictionary[Any, Operation] = WeakKeyDictionary()

Described = TypeVar("Described", bound=Callable[..., Any])


def described(
    summary: str,
    answer: Content = NO_CONTENT,
    *,
    status: int = 200,
    more: Mapping[int, Content] | None = None,
    errors: tuple[int, ...] = (),
    query: Mapping[str, Schema] | None = None,
    body: Content | None = None,
) -> Callable[[Described], Described]:
    """Says what a handler does: `answer` with `status`, or one of `more`, or an error of `errors`."""
    operation = Operation(summary, {status: answer, **(more or {})}, errors, query or {}, body)

    def mark(handler: Described) -> Described:
        _DESCRIBED[handler] = operation
        return handler

    return mark


def operation_of(handler: Callable[..., Any]) -> Operation | None:
    """What was said of a handler; None if nothing was."""
    return _DESCRIBED.get(handler)


def described_handlers() -> list[Callable[..., Any]]:
    """Every handler that has a description, whether or not a route leads to it."""
    return list(_DESCRIBED)
