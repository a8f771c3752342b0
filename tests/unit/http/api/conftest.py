"""The fixtures of the application's tests."""

from __future__ import annotations

import pytest

from tests.unit.http.api.world import World, build_world


@pytest.fixture
def world() -> World:
    return build_world()
