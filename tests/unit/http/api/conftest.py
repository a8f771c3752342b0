"""The fixtures of the application's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapd.http.api import static
from tests.unit.http.api.world import World, build_world


@pytest.fixture
def world() -> World:
    return build_world()


@pytest.fixture(autouse=True)
def ui_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the web UI's files, which is empty, whatever has been built in this tree."""
    directory = tmp_path / "static"
    directory.mkdir()
    monkeypatch.setattr(static, "FILES", static.StaticFiles(directory))
    return directory
