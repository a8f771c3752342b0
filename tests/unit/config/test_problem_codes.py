"""Every error and warning: its code, line, column, key path, and the words that help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import swapd.config
from swapd.config import loads
from swapd.config.codes import ADVICE, ERRORS, WARNINGS

from .case_files import ENVIRONMENT, Case, read_cases
from .test_advice import REMARKS
from .test_merging import MERGES
from .test_sources import REFUSALS

ERROR_CASES = read_cases("errors.cases")
WARNING_CASES = read_cases("warnings.cases")
WITH_FILES = {refusal.code for refusal in REFUSALS} | {merge.code for merge in MERGES if merge.at}


@pytest.mark.parametrize("case", ERROR_CASES, ids=str)
def test_error_is_found_at_its_place(case: Case) -> None:
    # Given a document with one mistake, when it is loaded
    loaded = loads(case.document, environ=ENVIRONMENT)

    # Then there is no configuration, and the one error says where and why
    assert loaded.config is None
    assert [problem.code for problem in loaded.errors] == [case.code]
    case.check(loaded.errors[0])
    assert "place" in case.expected


@pytest.mark.parametrize("case", WARNING_CASES, ids=str)
def test_warning_is_found_at_its_place(case: Case) -> None:
    # Given a document with one oddity, when it is loaded
    loaded = loads(case.document, environ=ENVIRONMENT)

    # Then there is a configuration, and the one warning says where and why
    assert loaded.config is not None
    assert [problem.code for problem in loaded.problems] == [case.code]
    case.check(loaded.problems[0])
    assert "place" in case.expected


def test_every_code_has_a_case() -> None:
    assert {case.code for case in ERROR_CASES} | WITH_FILES == set(ERRORS)
    assert {case.code for case in WARNING_CASES} == set(WARNINGS)
    assert {remark.code for remark in REMARKS} == set(ADVICE)


def test_every_problem_has_a_hint() -> None:
    for case in (*ERROR_CASES, *WARNING_CASES):
        for problem in loads(case.document, environ=ENVIRONMENT).problems:
            assert problem.hint, case


def test_every_code_in_the_source_is_in_the_catalogue() -> None:
    # Given the source text of the package
    package = Path(swapd.config.__file__).parent
    text = "".join(path.read_text() for path in package.glob("*.py") if path.name != "codes.py")

    # Then each word that is passed as a code is one the reference page explains
    used = set(re.findall(r"(?:error|warning|report|Advice|Trouble)\(\s*\"([a-z]+-[a-z-]+)\"", text))
    assert used
    assert used <= {*ERRORS, *WARNINGS, *ADVICE}
