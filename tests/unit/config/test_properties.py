"""What holds for every configuration: it loads or says why, and what loads survives being written out."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from swapd.config import (
    Config,
    Loaded,
    Sources,
    load,
    loads,
    problem_as_json,
    render_problem,
    render_problems,
)
from swapd.config.codes import ERRORS, WARNINGS
from swapd.config.model import Fingerprint, ModelConfig
from swapd.config.show import effective, show
from swapd.config.yaml_writer import to_yaml

from .case_files import ENVIRONMENT, read_cases
from .strategies import JUNK, configurations, mutated_bytes, mutated_trees

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
FILES = ("ports", "macros", "environment", "values", "routing", "peers", "errors", "warnings")
DOCUMENTS = [case.document for name in FILES for case in read_cases(f"{name}.cases")]
DOCUMENTS += [path.read_text() for path in EXAMPLES]

EXAMPLES_RUN = int(os.environ.get("SWAPD_TEST_EXAMPLES", "50"))
"""How many inputs a property is tried on; more by hand: SWAPD_TEST_EXAMPLES=20000."""

QUIET = (HealthCheck.too_slow, HealthCheck.filter_too_much)
bounded = settings(max_examples=EXAMPLES_RUN, deadline=None, suppress_health_check=QUIET)
bounded_more = settings(bounded, max_examples=max(1, EXAMPLES_RUN // 3))


def trees() -> list[Any]:
    """The documents as plain values, as far as another reader of YAML understands them."""
    found = []
    for document in DOCUMENTS:
        if "<<" not in document and "*" not in document and "${env" not in document:
            try:
                found.append(YAML(typ="safe", pure=True).load(document))
            except Exception:  # noqa: BLE001 - a case that is not YAML; its text is mutated instead
                continue
    return [_strings(tree) for tree in found if isinstance(tree, dict)]


def _strings(node: Any) -> Any:
    """Only what the writer knows: mappings with text as keys, lists, scalars."""
    if isinstance(node, dict):
        return {str(key): _strings(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_strings(item) for item in node]
    return node if isinstance(node, (str, int, float, bool)) or node is None else str(node)


def assert_sound(loaded: Loaded, text: str | None) -> None:
    """A load has a configuration or errors, and every problem can be shown, at a place that exists."""
    assert (loaded.config is None) == bool(loaded.errors)
    lines = re.split(r"\n", text) if text is not None else []
    for problem in loaded.problems:
        assert problem.code in (ERRORS if problem.is_error else WARNINGS)
        assert problem.message
        assert problem.hint, problem
        if problem.line is not None and text is not None:
            assert 1 <= problem.line <= len(lines)
            assert problem.column is not None
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        line = render_problem(problem)
        assert "\n" not in line
        line.encode()
        json.dumps(problem_as_json(problem)).encode()
    render_problems(loaded.problems, colour=True).encode()


@bounded
@given(JUNK)
def test_any_tree_loads_or_says_why(tree: Any) -> None:
    text = to_yaml(tree)
    assert_sound(loads(text, environ=ENVIRONMENT), text)


@bounded
@given(mutated_trees(trees()))
def test_any_document_with_changed_values_loads_or_says_why(tree: Any) -> None:
    text = to_yaml(tree)
    loaded = loads(text, environ=ENVIRONMENT)
    assert_sound(loaded, text)
    if loaded.config is not None:
        assert_survives(loaded.config)


@bounded
@given(content=mutated_bytes([document.encode() for document in DOCUMENTS]))
def test_any_file_with_changed_bytes_loads_or_says_why(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(content)
    text: str | None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = None
    loaded = load(Sources((path,)), environ=ENVIRONMENT)
    assert_sound(loaded, text)
    if loaded.config is not None:
        assert_survives(loaded.config)


@bounded
@given(st.text(max_size=60))
def test_any_text_loads_or_says_why(text: str) -> None:
    assert_sound(loads(text, environ=ENVIRONMENT), text)


@bounded_more
@given(configurations())
def test_what_loads_survives_being_written_out(tree: Any) -> None:
    # Given a configuration that fits together
    loaded = loads(to_yaml(tree), environ=ENVIRONMENT)
    assert loaded.errors == ()
    assert loaded.config is not None

    # Then it is the same when written out and read again
    assert_survives(loaded.config)


def assert_survives(config: Config) -> None:
    """Dump → load gives the same values, the same names and the same fingerprints."""
    dump = to_yaml(effective(config, masked=False))
    loaded = loads(dump, environ={})
    assert loaded.errors == (), dump
    again = loaded.config
    assert again is not None
    assert to_yaml(effective(again, masked=False)) == dump
    assert (again.names, again.peer_names, again.preload) == (config.names, config.peer_names, config.preload)
    for id, model in config.models.items():
        assert (again.models[id].argv, again.models[id].stop_argv) == (model.argv, model.stop_argv)
        assert again.models[id].fingerprint == with_port_written_out(model)
    for id, selector in config.selectors.items():
        assert again.selectors[id].resolved == selector.resolved
    assert loads(show(config), environ={}).config is not None


def with_port_written_out(model: ModelConfig) -> Fingerprint:
    """The fingerprint of the model as the dump describes it, with its port as a number."""
    fingerprint = model.fingerprint
    if model.port is None:
        return fingerprint
    port = str(model.port)
    return evolve(
        fingerprint,
        argv=tuple(word.replace("${PORT}", port) for word in fingerprint.argv),
        env=tuple(item.replace("${PORT}", port) for item in fingerprint.env),
        proxy=fingerprint.proxy.replace("${PORT}", port),
    )


@bounded
@given(
    where=st.sampled_from(
        [
            "apiKeys: [{}]",
            "apiKeys:\n  - {}",
            "apiKeys:\n  - key: {}\n    name: x",
            "peers: {{hub: {{apiKey: {}}}}}",
            'macros: {{k: {}}}\napiKeys: ["${{k}}"]',
        ]
    ),
    rest=mutated_bytes([document.encode() for document in DOCUMENTS if "apiKey" not in document]),
)
def test_a_key_is_never_shown_whatever_else_is_wrong(where: str, rest: bytes) -> None:
    secret = "s3cr3t-of-the-house"
    text = where.format(secret) + "\n" + rest.decode(errors="replace")
    loaded = loads(text, environ=ENVIRONMENT)
    assert secret not in render_problems(loaded.problems)
    assert secret not in json.dumps([problem_as_json(problem) for problem in loaded.problems])
    if loaded.config is not None:
        assert secret not in show(loaded.config)
        assert secret not in repr(loaded.config)
