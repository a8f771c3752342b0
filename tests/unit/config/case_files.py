"""Reading the case files: one document each with what must come out of it.

=== X01 title
<document>
--- ok                  effective values by key path
--- error <code>        at: key path; place: line:column; mentions: words; silent: words that must not appear
--- warning <code>      the same, but the document loads
--- warnings            code: key path, beside the values
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from swapd.config import Problem

CASES = Path(__file__).with_name("cases")
ENVIRONMENT = {
    "OWL_HOME": "/srv/owl",
    "OWL_N": "7",
    "OWL_KEY": "k-1",
    "OWL_EMPTY": "",
    "OWL_Q": 'a"b\\c',
    "OWL_NL": "a\nb",
}


@frozen(eq=False)
class Case:
    """A document, and the values or the one problem that must come of it (`code` empty: it loads)."""

    number: str
    title: str
    document: str
    values: dict[str, Any] = field(factory=dict)
    severity: str = ""
    code: str = ""
    expected: dict[str, Any] = field(factory=dict)
    warnings: dict[str, str] = field(factory=dict)

    def __str__(self) -> str:
        return f"{self.number} {self.title}"

    @property
    def is_error(self) -> bool:
        return self.severity == "error"

    def check(self, problem: Problem) -> None:
        """Assert that a problem is the expected one."""
        said = " ".join((problem.message, problem.hint, *problem.notes))
        assert problem.code == self.code
        for word in self.expected.get("mentions", ()):
            assert word in said
        for word in self.expected.get("silent", ()):
            assert word not in said + problem.excerpt
        if "at" in self.expected:
            assert problem.key_path == self.expected["at"]
        if "place" in self.expected:
            assert f"{problem.line}:{problem.column}" == self.expected["place"]
        assert problem.line is not None
        assert problem.column is not None


def read_cases(name: str) -> list[Case]:
    """The cases of one file. A case called PREAMBLE is put in front of all others."""
    cases = [_case(block) for block in re.split(r"^=== ", (CASES / name).read_text(), flags=re.M)[1:]]
    if cases[0].number != "PREAMBLE":
        return cases
    preamble = cases.pop(0).document
    return [evolve(case, document=preamble + case.document) for case in cases]


def _case(block: str) -> Case:
    head, _, rest = block.partition("\n")
    number, _, title = head.partition(" ")
    document, *sections = re.split(r"^--- ", rest, flags=re.M)
    case = Case(number, title, document.rstrip("\n") + "\n")
    for section in sections:
        kind, _, body = section.partition("\n")
        content = _yaml(body)
        if kind == "ok":
            case = evolve(case, values=content)
        elif kind == "warnings":
            case = evolve(case, warnings=content)
        else:
            severity, _, code = kind.partition(" ")
            case = evolve(case, severity=severity, code=code, expected=content)
    return case


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text) or {}
