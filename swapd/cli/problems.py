"""Problems of a configuration as people read them in a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swapd.config import Problem


def headline(problem: Problem) -> str:
    """`file:line:col: error[code] key.path: what is wrong`, the one line that editors understand."""
    place = "".join(f"{part}:" for part in (problem.file, problem.line, problem.column) if part is not None)
    severity = problem.severity.value
    path = f" {problem.key_path}:" if problem.key_path else ""
    return f"{place}{' ' if place else ''}{severity}[{problem.code}]{path} {problem.message}"


def on_one_line(problem: Problem) -> str:
    """The headline with the hint behind it, for a log."""
    return f"{headline(problem)} ({problem.hint})" if problem.hint else headline(problem)


def in_full(problems: Iterable[Problem]) -> str:
    """Every problem with the line it is about, a caret below the place, notes and hint."""
    return "\n".join("\n".join(_lines(problem)) for problem in problems)


def _lines(problem: Problem) -> Iterable[str]:
    yield headline(problem)
    if problem.excerpt:
        yield f"    {problem.excerpt}"
        if problem.column is not None:
            yield f"    {_caret(problem, problem.column)}"
    for note in problem.notes:
        yield f"  note: {note}"
    if problem.hint:
        yield f"  hint: {problem.hint}"


def _caret(problem: Problem, column: int) -> str:
    """Carets below the span, as far as it is on the line that is shown."""
    end = problem.end_column if problem.end_line == problem.line else None
    length = max(1, (end or column + 1) - column)
    before = problem.excerpt[: column - 1]
    blanks = "".join("\t" if char == "\t" else " " * _width(char) for char in before)
    return blanks + "^" * min(length, max(1, len(problem.excerpt) - column + 1))


def _width(char: str) -> int:
    """Columns the character takes in a terminal."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
