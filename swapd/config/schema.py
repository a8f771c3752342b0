"""A JSON Schema (draft 2020-12) of the configuration, made from the declarations. For editors only."""

from __future__ import annotations

from functools import singledispatch
from typing import Any as AnyType

from attrs import define, field

from swapd.config.configuration import RootKeys
from swapd.config.declare import Key, Section, keys_of
from swapd.config.kinds import (
    INVALID,
    Any,
    Bool,
    Choice,
    Duration,
    Int,
    Kind,
    ListOf,
    MapOf,
    Number,
    Seconds,
    Size,
    Text,
    plain_value,
)
from swapd.config.names import ApiKeyItem, ApiKeyKeys, Secret
from swapd.config.patterns import Pattern
from swapd.config.problems import ProblemLog
from swapd.config.show import plain
from swapd.config.sleeping import Step
from swapd.config.sources import SourceText
from swapd.config.special_kinds import Address, AutoOr, Either
from swapd.config.yaml_reader import parse

Schema = dict[str, AnyType]

_MACRO = {"$ref": "#/$defs/macro"}
_WORDS_FOR_BOOL = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"]
_WORDS_FOR_BOOL += ["n", "N", "no", "No", "NO", "off", "Off", "OFF"]
_DURATION = r"^[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+$|^0$"
_SECONDS = r"^\+?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d))+$|^0$"
_SIZE = r"^\+?(\d+(\.\d*)?|\.\d+)\s*([KMGT]i?B|B)$"


def json_schema() -> Schema:
    """The schema of a configuration file."""
    definitions = _Definitions()
    properties = definitions.properties(RootKeys)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "swapd configuration",
        "description": "Many local inference servers behind one address.",
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": {"^x-": {"description": "A place for anchors; swapd ignores it."}},
        "$defs": {
            "macro": {"type": "string", "pattern": r"\$\{[a-zA-Z0-9_.-]+\}", "description": "A macro."},
            **definitions.sections,
        },
    }


@define
class _Definitions:
    """Collects the sections on the way; each is defined once and referred to."""

    sections: dict[str, Schema] = field(factory=dict)

    def properties(self, section: type[AnyType]) -> dict[str, Schema]:
        return {
            name: self._property(declared, attribute.default)
            for name, (attribute, declared) in keys_of(section).items()
        }

    def _property(self, declared: Key, default: AnyType) -> Schema:
        schema = _schema_of(declared.kind, self)
        described: Schema = {"description": declared.help}
        shown = plain(default, declared.kind)
        if declared.example:
            described["examples"] = [_example(declared)]
        if shown is not None and declared.default_text is None and not isinstance(declared.kind, Section):
            described["default"] = shown
        return {**described, "anyOf": [*_alternatives(schema), _MACRO, {"type": "null"}]}

    def reference(self, section: type[AnyType]) -> Schema:
        name = section.__name__.removesuffix("Keys")
        if name not in self.sections:
            self.sections[name] = {}  # taken before descending, so that a section could hold itself
            self.sections[name] = {
                "type": "object",
                "description": (section.__doc__ or "").partition("\n")[0],
                "properties": self.properties(section),
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}


def _example(declared: Key) -> AnyType:
    """The example of a key as JSON has it."""
    node = parse(SourceText(declared.name, declared.example, declared.example), ProblemLog())
    assert node is not None
    return plain(plain_value(node))


def _alternatives(schema: Schema) -> list[Schema]:
    return list(schema["anyOf"]) if set(schema) == {"anyOf"} else [schema]


def _with_macro(kind: Kind, definitions: _Definitions) -> Schema:
    return {"anyOf": [*_alternatives(_schema_of(kind, definitions)), _MACRO]}


@singledispatch
def _schema_of(kind: Kind, definitions: _Definitions) -> Schema:
    raise TypeError(f"no schema for {type(kind).__name__}")


@_schema_of.register
def _(kind: Int, definitions: _Definitions) -> Schema:
    return {"type": "integer"} if kind.minimum is None else {"type": "integer", "minimum": kind.minimum}


@_schema_of.register
def _(kind: Number, definitions: _Definitions) -> Schema:
    bound = {"exclusiveMinimum": kind.above} if kind.above is not None else {"minimum": kind.minimum}
    return {"type": "number", **bound}


@_schema_of.register
def _(kind: Bool, definitions: _Definitions) -> Schema:
    return {"anyOf": [{"type": "boolean"}, {"enum": _WORDS_FOR_BOOL}]}


@_schema_of.register(Text)
@_schema_of.register(Secret)
def _(kind: Kind, definitions: _Definitions) -> Schema:
    return {"type": ["string", "number", "boolean"]}


@_schema_of.register
def _(kind: Choice, definitions: _Definitions) -> Schema:
    return {"enum": list(kind.values)}


@_schema_of.register
def _(kind: Duration, definitions: _Definitions) -> Schema:
    return {"type": "string", "pattern": _DURATION}


@_schema_of.register
def _(kind: Seconds, definitions: _Definitions) -> Schema:
    return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _SECONDS}]}


@_schema_of.register
def _(kind: Size, definitions: _Definitions) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE}]}


@_schema_of.register
def _(kind: Pattern, definitions: _Definitions) -> Schema:
    return {"type": "string", "format": "regex"}


@_schema_of.register
def _(kind: Address, definitions: _Definitions) -> Schema:
    return {"type": "string"}


@_schema_of.register
def _(kind: ListOf, definitions: _Definitions) -> Schema:
    items = _with_macro(kind.item, definitions)
    return {"type": "array", "items": {"anyOf": [*items["anyOf"], {"type": "null"}]}}


@_schema_of.register
def _(kind: MapOf, definitions: _Definitions) -> Schema:
    if isinstance(kind.item, Any):
        return {"type": "object"}
    entries = _with_macro(kind.item, definitions)["anyOf"]
    nullable = kind.item.collection or kind.item.null_entry() is not INVALID
    return {
        "type": "object",
        "additionalProperties": {"anyOf": [*entries, {"type": "null"}] if nullable else entries},
    }


@_schema_of.register
def _(kind: Any, definitions: _Definitions) -> Schema:
    return {}


@_schema_of.register
def _(kind: Section, definitions: _Definitions) -> Schema:
    return definitions.reference(kind.of)


@_schema_of.register
def _(kind: AutoOr, definitions: _Definitions) -> Schema:
    return {"anyOf": [{"const": "auto"}, *_alternatives(_schema_of(kind.other, definitions))]}


@_schema_of.register
def _(kind: Either, definitions: _Definitions) -> Schema:
    several = _alternatives(_schema_of(kind.several, definitions))
    return {"anyOf": [*_alternatives(_schema_of(kind.single, definitions)), *several]}


@_schema_of.register
def _(kind: ApiKeyItem, definitions: _Definitions) -> Schema:
    return {"anyOf": [{"type": ["string", "number", "boolean"]}, definitions.reference(ApiKeyKeys)]}


@_schema_of.register
def _(kind: Step, definitions: _Definitions) -> Schema:
    request = {
        "type": "object",
        "properties": {
            "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
            "path": {"type": "string", "pattern": "^/"},
            "body": {},
            "cmd": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        },
        "additionalProperties": False,
    }
    return {"anyOf": [{"type": "string"}, request]}
