"""What `swapd check` remarks beyond the rules."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from attrs import frozen

from swapd.config import Problem, Severity, Sources
from swapd.config.advice import advise
from swapd.config.codes import ADVICE
from swapd.config.loader import load_document


@frozen
class Remark:
    """A configuration that loads, and the one remark about it. `STORE` and `HERE` stand for paths."""

    code: str
    text: str
    place: str
    at: str
    mentions: tuple[str, ...]

    def __str__(self) -> str:
        return self.code


PREAMBLE = """\
models:
  owl: {cmd: "sh -c 1 ${PORT}"}
  wren: {cmd: "sh -c 2 ${PORT}"}
"""

REMARKS = [
    Remark("program-missing", 'models: {owl: {cmd: "no-such-server --port ${PORT}"}}\n', "1:21",
           "models.owl.cmd", ("no-such-server", "owl")),
    Remark("file-missing", 'models: {owl: {cmd: "sh --port ${PORT} -m HERE/gone.gguf"}}\n', "1:21",
           "models.owl.cmd", ("gone.gguf", "owl")),
    Remark("ttl-short", "store: {path: STORE}\nmodels:\n  owl:\n    cmd: sh ${PORT}\n    ttl: 30\n",
           "5:10", "models.owl.ttl", ("30 s", "45 s")),
    Remark("proxy-port", 'models:\n  owl: {cmd: "sh ${PORT}", proxy: "http://localhost:9000"}\n', "2:35",
           "models.owl.proxy", ("${PORT}", "9000")),
    Remark("proxy-shared",
           'models:\n  owl: {cmd: sh, proxy: "http://h:1"}\n  wren: {cmd: sh, proxy: "http://h:1"}\n'
           "groups: {g: {swap: false, members: [owl, wren]}}\n",
           "3:26", "models.wren.proxy", ("owl", "wren", "h:1")),
    Remark("group-single", PREAMBLE + "groups:\n  g: {members: [owl]}\n", "5:6", "groups.g", ("g",)),
    Remark("matrix-unstartable",
           'models:\n  owl: {proxy: "http://h"}\nmatrix: {sets: {s: owl}}\n', "2:8", "models.owl", ("owl",)),
    Remark("preload-evicts", PREAMBLE + "hooks: {on_startup: {preload: [owl, wren]}}\n", "4:31",
           "hooks.on_startup.preload", ("owl", "wren")),
    Remark("selector-hides",
           PREAMBLE + 'peers: {hub: {proxy: "http://h", models: [ibis]}}\n'
           "selectors:\n  ibis: {strategy: pin, targets: [owl]}\n",
           "6:9", "selectors.ibis", ("ibis", "hub/ibis")),
]  # fmt: skip


def remarks(directory: Path, text: str) -> list[Problem]:
    path = directory / "c.yaml"
    path.write_text(text.replace("STORE", str(directory / "s.db")).replace("HERE", str(directory)))
    environ = {"PATH": "/usr/bin:/bin"}
    loaded, places = load_document(Sources((path,)), environ=environ)
    assert loaded.config is not None, loaded.problems
    assert places is not None
    advise(loaded.config, environ, places)
    return [problem for problem in places.log.result() if problem.severity is Severity.ADVICE]


def record_a_load(directory: Path, model: str, load_ms: int) -> None:
    with sqlite3.connect(directory / "s.db") as connection:
        connection.execute("CREATE TABLE model_run (model TEXT, load_ms INTEGER)")
        connection.execute("INSERT INTO model_run VALUES (?, ?)", (model, load_ms))


def test_every_remark_has_a_case() -> None:
    assert [remark.code for remark in REMARKS] == list(ADVICE)


@pytest.mark.parametrize("remark", REMARKS, ids=str)
def test_a_remark_is_made_at_its_place(remark: Remark, tmp_path: Path) -> None:
    # Given a configuration that loads but hardly does what is wanted
    record_a_load(tmp_path, "owl", 45_000)

    # When it is checked
    found = remarks(tmp_path, remark.text)

    # Then the one remark names the place and the parties, and never counts as an error or warning
    (problem,) = found
    assert (problem.code, f"{problem.line}:{problem.column}", problem.key_path) == (
        remark.code,
        remark.place,
        remark.at,
    )
    said = f"{problem.message} {problem.hint}"
    assert all(word in said for word in remark.mentions), said


@pytest.mark.parametrize(
    "text",
    [
        # names that a server looks up in a model hub are no files
        'models: {owl: {cmd: "sh serve org/owl --model org/owl-7b --port ${PORT}"}}',
        # a path inside a container is not one of this machine
        'models: {owl: {cmd: "docker run -v /m:/m img -m /m/owl.gguf --port ${PORT}"}}',
        # a group that keeps its member from being stopped
        PREAMBLE + "groups: {g: {members: [owl], persistent: true}}",
        # one at a time at one address
        'models: {owl: {cmd: sh, proxy: "http://h:1"}, wren: {cmd: sh, proxy: "http://h:1"}}',
        # preloaded models that may run together
        PREAMBLE
        + "groups: {g: {swap: false, members: [owl, wren]}}\nhooks: {on_startup: {preload: [owl, wren]}}",
    ],
)
def test_nothing_is_remarked_where_nothing_is_odd(text: str, tmp_path: Path) -> None:
    assert [problem.code for problem in remarks(tmp_path, text) if "docker" not in problem.message] == []


def test_a_store_that_is_no_database_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("not a database")
    assert remarks(tmp_path, PREAMBLE + "store: {path: STORE}\n") == []


def test_a_fixed_port_that_another_model_is_assigned_is_remarked(tmp_path: Path) -> None:
    # Given a model at a port of its own choosing, which is also the first that swapd assigns
    text = (
        'models:\n  owl: {cmd: sh, proxy: "http://127.0.0.1:5800"}\n  wren: {cmd: "sh ${PORT}"}\n'
        "groups: {g: {swap: false, members: [owl, wren]}}\n"
    )

    # Then that is said of the two
    (problem,) = remarks(tmp_path, text)
    assert problem.code == "proxy-shared"
    assert "owl" in problem.message
    assert "localhost:5800" in problem.message
