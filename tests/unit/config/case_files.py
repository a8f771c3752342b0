"""Reading the case files: one document each with what must come out of it.

=== X01 title
<document>
--- ok                  effective values by key path
--- error <code>        at: key path; mentions: words; silent: words that must not appear
--- warnings            code: key path
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import frozen

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
    number: str
    title: str
    document: str
    values: dict[str, Any]
    error: str
    expected: dict[str, Any]
    warnings: dict[str, str]

    def __str__(self) -> str:
        return f"{self.number} {self.title}"


def read_cases(name: str) -> list[Case]:
    """The cases of one file. A case called PREAMBLE is put in front of all others."""
    cases = [_case(block) for block in re.split(r"^=== ", (CASES / name).read_text(), flags=re.M)[1:]]
    if cases[0].number != "PREAMBLE":
        return cases
    preamble = cases.pop(0).document
    return [
        Case(
            case.number,
            case.title,
            preamble + case.document,
            case.values,
            case.error,
            case.expected,
            case.warnings,
        )
        for case in cases
    ]


def _case(block: str) -> Case:
    head, _, rest = block.partition("\n")
    number, _, title = head.partition(" ")
    document, *sections = re.split(r"^--- ", rest, flags=re.M)
    values: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    warnings: dict[str, str] = {}
    error = ""
    for section in sections:
        kind, _, body = section.partition("\n")
        data = _yaml(body)
        if kind == "ok":
            values = data
        elif kind == "warnings":
            warnings = data
        else:
            error = kind.removeprefix("error ")
            expected = data
    return Case(number, title, document.rstrip("\n") + "\n", values, error, expected, warnings)


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text) or {}
