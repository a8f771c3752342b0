"""Problems as text for people and as JSON for editors.

One problem reads `file:line:column: error[code] key.path: what is wrong`, followed in a report by the source
line with a caret, notes and a hint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swapd.config.problems import UNPRINTABLE, Problem, Severity

_BOLD, _RED, _YELLOW, _CYAN, _RESET = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"
_COLOURS = {Severity.ERROR: _RED, Severity.WARNING: _YELLOW, Severity.ADVICE: _CYAN}
_EXCERPT_WIDTH = 100
_LEAD = 30  # characters kept before the caret when a long line is cut


def render_problem(problem: Problem) -> str:
    """A problem in one line, for a log."""
    hint = f" ({problem.hint})" if problem.hint else ""
    return _head(problem) + hint


def render_problems(problems: Iterable[Problem], *, colour: bool = False) -> str:
    """Problems with source lines, notes and hints, one paragraph each."""
    return "\n".join(_paragraph(problem, colour=colour) for problem in problems)


def problem_as_json(problem: Problem) -> dict[str, Any]:
    """A problem as the object that `swapd check --json` and the API give."""
    return {
        "file": None if problem.file is None else str(problem.file),
        "line": problem.line,
        "column": problem.column,
        "endLine": problem.end_line,
        "endColumn": problem.end_column,
        "path": problem.key_path,
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "notes": list(problem.notes),
    }


def summary(problems: Iterable[Problem]) -> str:
    """How many of which: `2 errors, 1 warning`, or `no problems`."""
    severities = [problem.severity for problem in problems]
    counts = [
        f"{number} {noun}{'s' if number != 1 and plural else ''}"
        for severity, noun, plural in (
            (Severity.ERROR, "error", True),
            (Severity.WARNING, "warning", True),
            (Severity.ADVICE, "remark", True),
        )
        if (number := severities.count(severity))
    ]
    return ", ".join(counts) or "no problems"


def _head(problem: Problem, *, colour: bool = False) -> str:
    place = "swapd" if problem.file is None else str(problem.file)
    if problem.line is not None:
        place = f"{place if problem.file else '<text>'}:{problem.line}:{problem.column}"
    kind = f"{problem.severity.value}[{problem.code}]"
    if colour:
        place, kind = f"{_BOLD}{place}{_RESET}", f"{_COLOURS[problem.severity]}{kind}{_RESET}"
    path = f" {problem.key_path}" if problem.key_path else ""
    return f"{place}: {kind}{path}: {problem.message}"


def _paragraph(problem: Problem, *, colour: bool) -> str:
    lines = [_head(problem, colour=colour)]
    lines += _excerpt(problem, colour=colour)
    lines += (f"  note: {note}" for note in problem.notes)
    if problem.hint:
        first, *more = problem.hint.split("\n")
        lines += (f"  hint: {first}", *(f"        {line}" for line in more))
    return "\n".join(lines) + "\n"


def _excerpt(problem: Problem, *, colour: bool) -> list[str]:
    """The source line, cut around the place when it is long, and the caret below it."""
    if problem.line is None or problem.column is None or not problem.excerpt.strip():
        return []
    text = UNPRINTABLE.sub(_one_character, problem.excerpt)
    start = min(problem.column - 1, len(text))
    end = len(text.rstrip())
    if problem.end_line == problem.line and problem.end_column is not None:
        end = problem.end_column - 1
    width = max(1, end - start)
    if len(text) > _EXCERPT_WIDTH:
        cut = max(0, min(start - _LEAD, len(text) - _EXCERPT_WIDTH))
        tail = "…" if cut + _EXCERPT_WIDTH < len(text) else ""
        text = ("…" if cut else "") + text[cut : cut + _EXCERPT_WIDTH] + tail
        start -= cut - (1 if cut else 0)
        width = min(width, _EXCERPT_WIDTH + 1 - start)
    number = str(problem.line)
    caret = "^" * max(1, width)
    if colour:
        caret = f"{_COLOURS[problem.severity]}{caret}{_RESET}"
    return [f"  {number} | {text.rstrip()}", f"  {' ' * len(number)} | {' ' * start}{caret}"]


def _one_character(match: Any) -> str:
    """Quotes and backslashes as they are, a tab as a blank, everything else unprintable as a dot."""
    character: str = match[0]
    if character in '"\\':
        return character
    return " " if character == "\t" else "·"
