"""Every worked example of the configuration language, by its number."""

from __future__ import annotations

from typing import Any

import pytest

from swapd.config import Config, loads
from swapd.config.expressions import sets_of
from swapd.config.show import effective, plain

from .case_files import ENVIRONMENT, Case, read_cases

FILES = ("ports", "macros", "environment", "values", "routing", "peers")
CASES = [case for name in FILES for case in read_cases(f"{name}.cases")]


def test_every_number_is_there_once() -> None:
    assert [case.number for case in CASES] == [f"X{number:02}" for number in range(1, 93)]


@pytest.mark.parametrize("case", [case for case in CASES if not case.code], ids=str)
def test_example_that_loads_has_the_effective_values(case: Case) -> None:
    # Given a document, when it is loaded
    loaded = loads(case.document, environ=ENVIRONMENT)

    # Then it has no errors, the expected values and the expected warnings
    assert loaded.errors == ()
    assert loaded.config is not None
    for path, value in case.values.items():
        found = look_up(loaded.config, path)
        assert (type(found), found) == (type(value), value), path
    for code, path in case.warnings.items():
        assert (code, path) in [(problem.code, problem.key_path) for problem in loaded.warnings]


@pytest.mark.parametrize("case", [case for case in CASES if case.code], ids=str)
def test_example_that_is_refused_says_why(case: Case) -> None:
    # Given a document, when it is loaded
    loaded = loads(case.document, environ=ENVIRONMENT)

    # Then there is no configuration, and the one error names what it must
    assert loaded.config is None
    assert len(loaded.errors) == 1
    case.check(loaded.errors[0])


def look_up(config: Config, path: str) -> Any:
    """An effective value by key path; a few first words stand for things that are no keys."""
    head, _, rest = path.partition(".")
    views: dict[str, Any] = {
        "port": lambda: config.models[rest].port,
        "argv": lambda: list(config.models[rest].argv),
        "strip": lambda: list(config.models[rest].filters.strip),
        "metadata": lambda: plain(config.models[rest].metadata),
        "keys": lambda: [key.key for key in config.api_keys],
        "engine": lambda: config.routing.engine,
        "priorities": lambda: dict(config.routing.priorities),
        "costs": lambda: dict(config.routing.matrix.costs) if config.routing.matrix else None,
        "preload": lambda: list(config.preload),
        "matrix": lambda: matrix_sets(config, rest),
    }
    if head in views:
        return views[head]()
    if head == "groups":
        name, _, attribute = rest.rpartition(".")
        return plain(getattr(config.routing.groups[name], attribute))
    value: Any = effective(config)
    for step in path.split("."):
        value = value[step]
    return value


def matrix_sets(config: Config, name: str) -> list[list[str]]:
    assert config.routing.matrix is not None
    expressions = {entry.name: entry.expression for entry in config.routing.matrix.sets}
    return [list(models) for models in sets_of(expressions[name], expressions)]
