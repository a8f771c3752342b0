"""Problems of a configuration in a terminal."""

from __future__ import annotations

from pathlib import Path

from swapd.cli.problems import headline, in_full, on_one_line
from swapd.config import Problem, Severity

PROBLEM = Problem(
    Severity.ERROR,
    "type",
    "expected an int",
    "write a number of seconds",
    Path("c.yaml"),
    5,
    10,
    "models.owl.ttl",
    end_line=5,
    end_column=14,
    notes=("expanded from macro x, defined at c.yaml:1:3",),
    excerpt="    ttl: soon  # no number",
)


def test_given_a_problem_when_shown_in_full_then_a_caret_points_at_its_place() -> None:
    assert in_full([PROBLEM]).splitlines() == [
        "c.yaml:5:10: error[type] models.owl.ttl: expected an int",
        "        ttl: soon  # no number",
        "             ^^^^",
        "  note: expanded from macro x, defined at c.yaml:1:3",
        "  hint: write a number of seconds",
    ]


def test_given_a_problem_without_a_place_when_shown_then_only_what_is_known_appears() -> None:
    problem = Problem(Severity.ERROR, "source-none", "the directory holds no YAML files", file=Path("conf.d"))

    assert in_full([problem]) == "conf.d: error[source-none] the directory holds no YAML files"
    assert headline(Problem(Severity.WARNING, "x", "y")) == "warning[x] y"


def test_given_a_problem_when_shown_on_one_line_then_the_hint_follows() -> None:
    assert on_one_line(PROBLEM) == (
        "c.yaml:5:10: error[type] models.owl.ttl: expected an int (write a number of seconds)"
    )


def test_given_wide_characters_and_tabs_before_the_place_when_shown_then_the_caret_stands_below_it() -> None:
    problem = Problem(
        Severity.ERROR, "x", "y", line=1, column=5, end_line=1, end_column=6, excerpt="\t猫a: b"
    )

    assert in_full([problem]).splitlines()[2] == "    \t" + " " * 4 + "^"


def test_given_a_span_over_several_lines_when_shown_then_the_caret_marks_its_beginning() -> None:
    problem = Problem(Severity.ERROR, "x", "y", line=1, column=1, end_line=3, end_column=9, excerpt="models:")

    assert in_full([problem]).splitlines()[2] == "    ^"
