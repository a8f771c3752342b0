"""The fixture of all scenarios."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.scenarios.stage import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A stage; after the test it is cleared, and must then be empty. It plays in virtual time, so a test has
    to take the fixture `clock` as well: pytest-trio looks for a clock among a test's own arguments only."""
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery)
        yield stage
        await stage.clear()
