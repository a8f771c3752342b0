"""The page docs/api-details.md, made of the description: `python -m swapd.http.api.reference FILE`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from swapd.http.api import openapi, session
from swapd.http.api.routes import ADMIN_ONLY, NO_KEY_NEEDED, ROUTES
from swapd.http.auth import Authentication

Document = dict[str, Any]

_INTRODUCTION: Final = """\
# API in detail

<!-- Made by `python -m swapd.http.api.reference docs/api-details.md`; edit the descriptions instead. -->

What swapd answers itself; the [overview](api.md) has the routes of the models as well. A running swapd gives
the same as OpenAPI 3.1 at `/openapi.json`. Members marked *optional* may be missing.
"""


def reference() -> str:
    """The text of the page."""
    # Nobody signs in here: the handlers are only asked what they do.
    nobody = cast(Authentication, None)
    table = {**ROUTES, "/api/session": session.handlers(nobody)}
    document = openapi.document(table, NO_KEY_NEEDED, ADMIN_ONLY)
    return "\n".join(_parts(document, {openapi.plain_path(path) for path in table}))


def _parts(document: Document, paths: set[str]) -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Routes\n"
    for path in sorted(paths):
        for method, operation in document["paths"][path].items():
            yield from _operation(method.upper(), path, operation)
    yield "## Shapes\n"
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name}\n"
        yield from _members(schema)


def _operation(method: str, path: str, operation: Document) -> Iterator[str]:
    yield f"### `{method} {path}`\n"
    yield f"{operation['summary']}. For: {operation['tags'][0]}.\n"
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            yield f"- in the query, `{parameter['name']}`: {_type(parameter['schema'])}"
    if "requestBody" in operation:
        yield f"- body: {_contents(operation['requestBody'])}"
    for status, answer in operation["responses"].items():
        if int(status) < 400:
            yield f"- {status}: {_contents(answer)}"
    refused = sorted(status for status in operation["responses"] if int(status) >= 400)
    if refused:
        yield f"- {', '.join(refused)}: [Error](#error)"
    yield ""


def _contents(answer: Document) -> str:
    shown = [
        f"`{kind}`" if _is_plain(content["schema"]) else f"`{kind}`, {_type(content['schema'])}"
        for kind, content in answer.get("content", {}).items()
    ]
    return "; ".join(shown) or "nothing"


def _is_plain(schema: Document) -> bool:
    return schema.get("type") == "string" and "enum" not in schema


def _members(schema: Document) -> Iterator[str]:
    properties: Mapping[str, Document] = schema.get("properties", {})
    if not properties:
        yield f"{_type(schema)}\n"
        return
    required = schema.get("required", ())
    yield "| member | |\n|---|---|"
    for name, member in properties.items():
        optional = "" if name in required else ", *optional*"
        yield f"| `{name}` | {_type(member)}{optional} |"
    yield ""


def _type(schema: Document) -> str:
    """What may stand there, in words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    for word, joint in (("anyOf", " or "), ("oneOf", " or "), ("allOf", " with ")):
        if word in schema:
            return joint.join(map(_type, schema[word]))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and schema.get("properties"):
        return f"object with {', '.join(f'`{name}`' for name in schema['properties'])}"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict) and values:
        return f"name → {_type(values)}"
    return str(kind)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
