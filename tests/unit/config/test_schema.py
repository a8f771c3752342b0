"""The JSON Schema for editors: it accepts what loads, and marks what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from swapd.cli import schema as command
from swapd.cli.errors import CliError
from swapd.config.schema import json_schema

from .strategies import configurations
from .test_properties import bounded_more

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def tree(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_it_is_a_schema_of_its_draft() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid(example: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(tree(example.read_text()))] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x-defaults: &d {ttl: 5}\nmodels: {owl: {<<: *d, cmd: s}}",
        "models: {owl: {cmd: 5, ttl: '${t}', unlisted: yes, aliases: ['${a}', ~], concurrencyLimit: ~}}",
        "healthCheckTimeout: ${t}",
        "queueTimeout: 90s\nmaxRequestBody: 4MiB\nperformance: {every: 1m30s}",
        "apiKeys: [a, 5, {key: b}, {keyFile: /k, admin: true}]",
        "models: {owl: {metadata: {anything: [1, {goes: ~}]}, filters: {setParams: {a.b: [1]}}}}",
        "routing: {router: {settings: {memory: {budgets: {gpu0: 8GiB}, reserve: {gpu0: 5}}}}}",
        "models: {owl: {sleep: {sleep: [POST /sleep, {path: /x, body: {a: 1}}, {cmd: [a, b]}]}}}",
        "groups: {g: ~}",
    ],
)
def test_what_the_language_allows_is_valid(text: str) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(tree(text))] == []


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("models: [owl]", "models"),
        ("models: {owl: ~}", "models/owl"),
        ("models: {owl: {cmd: [s]}}", "models/owl/cmd"),
        ("models: {owl: {ttl: '60'}}", "models/owl/ttl"),
        ("models: {owl: {ttl: -2}}", "models/owl/ttl"),
        ("models: {owl: {checkEndPoint: /}}", "models/owl"),
        ("models: {owl: {timeouts: {conect: 5}}}", "models/owl/timeouts"),
        ("models: {owl: {evictCost: 0}}", "models/owl/evictCost"),
        ("globalTTL: 10m", "globalTTL"),
        ("startPort: 0", "startPort"),
        ("logToStdout: all", "logToStdout"),
        ("includeAliasesInList: 1", "includeAliasesInList"),
        ("performance: {every: 15}", "performance/every"),
        ("queueTimeout: -1", "queueTimeout"),
        ("queueTimeout: 5 minutes", "queueTimeout"),
        ("maxRequestBody: 4 megabytes", "maxRequestBody"),
        ("upstream: {ignorePaths: a}", "upstream/ignorePaths"),
        ("apiKeys: [{name: x, colour: red}]", "apiKeys/0"),
        ("routing: {router: {uses: group}}", "routing/router"),
        ("- a", ""),
    ],
)
def test_what_the_language_refuses_is_marked_at_its_place(text: str, at: str) -> None:
    errors = list(VALIDATOR.iter_errors(tree(text)))

    places = {"/".join(map(str, deepest(error).absolute_path)) for error in errors}
    assert places == {at}


def deepest(error: Any) -> Any:
    """The error an editor shows: within alternatives, that of the one which goes deepest."""
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return error


@bounded_more
@given(configurations())
def test_what_loads_is_valid(values: Any) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(values)] == []


def test_every_property_is_described() -> None:
    for name, section in [("top level", SCHEMA), *SCHEMA["$defs"].items()]:
        for key, described in section.get("properties", {}).items():
            assert described.get("description") or name == "Step", f"{name}: {key}"


# --- the command ----------------------------------------------------------------------------------------


def test_the_command_prints_the_schema_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run([]) == 0

    captured = capsys.readouterr()
    assert json.loads(captured.out) == SCHEMA
    assert "# yaml-language-server: $schema=" in captured.err


def test_the_command_writes_a_file_and_prints_the_line_to_paste(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "swapd.schema.json"

    assert command.run(["--out", str(path)]) == 0

    assert json.loads(path.read_text()) == SCHEMA
    assert capsys.readouterr().out == f"# yaml-language-server: $schema={path}\n"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CliError) as error:
        command.run(["--out", str(tmp_path / "no" / "where.json")])
    assert "where.json" in str(error.value)
