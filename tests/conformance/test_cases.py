"""Every case of the conformance list has a test that is named after its number.

`test_case_49_…` is about one, `test_cases_21_to_23_and_25_…` about several. Each runs against a daemon of its
own, over a socket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent

REQUESTS = [*range(1, 59), 64, 65]
"""What concerns routes, keys, models and their names, filters, proxying and errors."""
OPERATIONS = [*range(59, 64), *range(66, 79)]
"""What concerns lists, the activity log, events and token figures."""

_NAMED = re.compile(
    r"^def test_cases?_((?:\d+_|to_|and_)+)|^async def test_cases?_((?:\d+_|to_|and_)+)", re.M
)


def numbers(name: str) -> Iterator[int]:
    """`21_to_23_and_25_` → 21, 22, 23, 25."""
    for one, last in re.findall(r"(\d+)(?:_to_(\d+))?", name):
        yield from range(int(one), int(last or one) + 1)


@pytest.mark.parametrize("cases", [REQUESTS, OPERATIONS], ids=["requests", "operations"])
def test_every_case_of_the_list_has_a_test_by_its_number(cases: list[int]) -> None:
    texts = [path.read_text() for path in HERE.parent.rglob("test_*.py")]
    tested = {
        number for text in texts for found in _NAMED.findall(text) for number in numbers("".join(found))
    }
    assert [case for case in cases if case not in tested] == []


def test_numbers_are_read_from_names() -> None:
    assert list(numbers("21_to_23_and_25_")) == [21, 22, 23, 25]
