"""Which swapd this is, as programs compare it."""

from __future__ import annotations

import pytest

from swapd.version import Build


@pytest.mark.parametrize(
    ("version", "release"),
    [("1.2.3", "1.2.3"), ("0.2.0.dev3+g1a2b3c4", "0.2.0"), ("1.0rc1", "1"), ("0.1.0.post1", "0.1.0")],
)
def test_the_release_is_in_plain_numbers(version: str, release: str) -> None:
    assert Build(version).release == release
