"""Several files become one configuration: the worked examples M1 to M10, and the errors with their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from swapd.config import Loaded, Sources, load
from swapd.config.show import effective

OWL = 'models: {owl: {cmd: s, proxy: "http://h"}}\n'


def model(cmd: str) -> str:
    return f'models: {{owl: {{cmd: "{cmd}", proxy: "http://h"}}}}\n'


@frozen
class Merge:
    """Two files with the values, or the error and its place in the second file, that must come of them."""

    number: str
    first: str
    second: str
    values: dict[str, Any] = field(factory=dict)
    code: str = ""
    place: str = ""
    at: str = ""
    mentions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.number


MERGES = [
    Merge("M1", "globalTTL: 5", "globalTTL: 6", code="merge-conflict", place="1:12", at="globalTTL",
          mentions=("globalTTL", "a.yaml", "b.yaml")),
    Merge("M2", "globalTTL: 5", "globalTTL: 5", {"globalTTL": 5}),
    Merge("M3", "startPort: 5800", "startPort: [1]", code="merge-kind", place="1:12", at="startPort",
          mentions=("startPort", "int", "list", "a.yaml", "b.yaml")),
    Merge("M4", OWL, OWL, code="merge-duplicate", place="1:10", at="models.owl",
          mentions=("models", "owl", "a.yaml", "b.yaml")),
    Merge("M5", "macros: {a: 1}", 'macros: {b: "${a}2"}\n' + model("s ${b}"), {"models.owl.cmd": "s 12"}),
    Merge("M6", 'macros: {a: "${z}"}', "macros: {z: 1}\n" + model("s ${a}"), code="macro-unknown",
          place="2:24", at="models.owl.cmd", mentions=("${z}", "before", "a.yaml:1:13")),
    Merge("M7", "apiKeys: [k1]", "apiKeys: [k2, k1]", {"apiKeys": ["k1", "k2", "k1"]}),
    Merge("M8", "matrix: {sets: {s: owl}}\n" + OWL, "matrix: {sets: {t: owl}}", code="merge-duplicate",
          place="1:10", at="matrix.sets", mentions=("matrix", "sets")),
    Merge("M9", "logLevel: warn", 'logLevel: "warn"', {"logLevel": "warn"}),
    Merge("M10", "# comments only\n", "logLevel: warn", {"logLevel": "warn"}),
    # Beyond the numbered ones: each row of the merge table.
    Merge("identity-map-is-no-mapping", OWL, "models: [owl]", code="merge-kind", place="1:9", at="models",
          mentions=("mapping", "list")),
    Merge("empty-identity-map-yields", OWL, "models:\n", {"models.owl.cmd": "s"}),
    Merge("every-null-yields", "globalTTL: ~\nlogLevel: null\nstore: {path: }\n",
          "globalTTL: 7\nlogLevel: warn\nstore: ~\n", code="store-path", place="", at="store.path"),
    Merge("null-on-either-side", "globalTTL: ~\nlogLevel: warn\n", "globalTTL: 7\nlogLevel: null\n",
          {"globalTTL": 7, "logLevel": "warn"}),
    Merge("sections-key-by-key", "restart: {base: 3}", "restart: {max: 90}",
          {"restart.base": 3, "restart.max": 90}),
    Merge("lists-one-behind-the-other", "upstream: {ignorePaths: [a]}", "upstream: {ignorePaths: [b, a]}",
          {"upstream.ignorePaths": ["a", "b", "a"]}),
    Merge("priorities-by-name", OWL + "routing: {scheduler: {settings: {fifo: {priority: {owl: 1}}}}}",
          "routing: {scheduler: {settings: {fifo: {priority: {owl: 1}}}}}",
          {"routing.scheduler.settings.fifo.priority.owl": 1}),
    Merge("a-conflict-deep-down", "restart: {base: 3}", "logLevel: warn\nrestart:\n  base: 4\n",
          code="merge-conflict", place="3:9", at="restart.base", mentions=("restart.base",)),
    Merge("int-and-quoted-int", "globalTTL: 10", 'globalTTL: "10"', code="merge-conflict", place="1:12"),
    Merge("another-spelling", "globalTTL: 10", "globalTTL: 0xa", code="merge-conflict", place="1:12"),
    Merge("true-and-yes", "includeAliasesInList: true", "includeAliasesInList: yes", code="merge-conflict",
          place="1:23"),
    Merge("groups-are-an-identity-map", OWL + "groups: {g: {members: [owl]}}", "groups: {g: {swap: false}}",
          code="merge-duplicate", place="1:10", at="groups.g"),
    Merge("new-style-groups-too",
          OWL + "routing: {router: {settings: {groups: {g: {members: [owl]}}}}}",
          "routing: {router: {settings: {groups: {g: {swap: false}}}}}",
          code="merge-duplicate", place="1:40", at="routing.router.settings.groups.g"),
    Merge("peers", "peers: {hub: {proxy: 'http://h', models: [m]}}", "peers:\n  hub: {models: [n]}\n",
          code="merge-duplicate", place="2:3", at="peers.hub", mentions=("hub",)),
]  # fmt: skip


def load_both(directory: Path, case: Merge) -> Loaded:
    (directory / "a.yaml").write_text(case.first)
    (directory / "b.yaml").write_text(case.second)
    return load(Sources(directory=directory), environ={})


@pytest.mark.parametrize("case", [case for case in MERGES if not case.code], ids=str)
def test_files_that_agree_are_merged(case: Merge, tmp_path: Path) -> None:
    # Given two files in one directory, when they are loaded
    loaded = load_both(tmp_path, case)

    # Then the configuration holds what both say
    assert loaded.errors == ()
    assert loaded.config is not None
    values: Any = effective(loaded.config, masked=False)
    values["apiKeys"] = [key["key"] for key in values["apiKeys"]]
    for path, value in case.values.items():
        assert look_up(values, path) == value


@pytest.mark.parametrize("case", [case for case in MERGES if case.code], ids=str)
def test_files_that_disagree_are_refused_with_both_places(case: Merge, tmp_path: Path) -> None:
    # Given two files in one directory, when they are loaded
    loaded = load_both(tmp_path, case)

    # Then the one error stands at its place in the second file and names what it must
    assert loaded.config is None
    (problem,) = loaded.errors
    assert problem.code == case.code
    if case.place:
        assert (problem.file, f"{problem.line}:{problem.column}") == (tmp_path / "b.yaml", case.place)
    if case.at:
        assert problem.key_path == case.at
    said = " ".join((problem.message, problem.hint, *problem.notes))
    for word in case.mentions:
        assert word in said
    assert problem.hint


def test_macros_and_sets_keep_the_order_of_the_files(tmp_path: Path) -> None:
    # Given sets and macros in two files
    (tmp_path / "a.yaml").write_text("macros: {z: 1}\n" + OWL)
    (tmp_path / "b.yaml").write_text("macros: {a: 2}\n" + "routing: {router: {use: group}}\n")

    # When they are loaded
    loaded = load(Sources((tmp_path / "a.yaml", tmp_path / "b.yaml")), environ={})

    # Then the first file's come first, whatever their names
    assert loaded.config is not None
    assert list(loaded.config.macros) == ["z", "a"]


def test_an_anchor_is_local_to_its_file(tmp_path: Path) -> None:
    # Given equally named anchors in two files
    for name, model_id in (("a", "owl"), ("b", "wren")):
        text = (
            f'x-{name}: &defaults {{cmd: "{name}", proxy: "http://h"}}\nmodels: {{{model_id}: *defaults}}\n'
        )
        (tmp_path / f"{name}.yaml").write_text(text)

    # When they are loaded
    loaded = load(Sources(directory=tmp_path), environ={})

    # Then each alias means the anchor of its own file
    assert loaded.config is not None
    assert {id: model.cmd for id, model in loaded.config.models.items()} == {"owl": "a", "wren": "b"}


def look_up(values: Any, path: str) -> Any:
    for step in path.split("."):
        values = values[step]
    return values
