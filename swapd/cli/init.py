"""`swapd init`: find the models on this machine and write a configuration for them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from swapd.cli.discovery.find import Skipped
    from swapd.cli.discovery.plan import Plan

DEFAULT_OUT: Final = Path("swapd.yaml")
PATIENCE_S: Final = 1.0
"""How long a search may take before it shows how far it is."""


def run(argv: Sequence[str]) -> int:
    """Search, decide, write; returns the exit code."""
    from swapd.cli.discovery.find import find_models, usual_places
    from swapd.cli.discovery.fit import detect_memory
    from swapd.cli.discovery.plan import make_plan
    from swapd.cli.discovery.text import configuration
    from swapd.supervision.state_directory import default_state_directory

    parser = _parser()
    values = parser.parse(argv, os.environ)
    places = [Path(word) for word in parser.words]
    for place in places:
        if not place.exists():
            raise CliError(f"cannot search {place}: it does not exist", "name a directory with GGUF files")
    out: Path = values["out"] or DEFAULT_OUT
    printing = str(out) == "-" or bool(values["dry-run"])
    if not printing:
        _must_not_exist(out, forced=bool(values["force"]))
    where = places or usual_places(os.environ, Path.home())
    with _Progress() as progress:
        findings = find_models(where, progress.show)
    plan = make_plan(findings.models, detect_memory())
    server = values["server"] or shutil.which("llama-server")
    state = default_state_directory(os.environ)
    text = configuration(
        plan,
        server=shlex.quote(server or "llama-server"),
        server_found=server is not None,
        store=state / "activity.db",
    )
    if values["json"]:
        _print_json(plan, findings.skipped, text)
    elif printing:
        print(text, end="")
    if not printing:
        _make_state_directory(state)
        _write(out, text)
    _tell(plan, findings.skipped, where)
    if not printing and not values["json"]:
        print(f"wrote {out}; next: swapd check {shlex.quote(str(out))}")
    return ExitCode.OK if plan.entries else ExitCode.FAILED


def _parser() -> FlagParser:
    parser = FlagParser(
        "init",
        "Find models on this machine and write a configuration for them.",
        usage="%(prog)s [flags] [DIR…]",
        epilog="Without DIR it looks into the caches of Hugging Face, llama.cpp and LM Studio, ~/models and "
        "/models.",
    )
    parser.add_words("DIR")
    parser.add_value(
        "out", f"where to write it (default {DEFAULT_OUT}; - prints it)", "FILE", Path, twin=False
    )
    parser.add_value("server", "llama.cpp's server (default: llama-server in PATH)", "PROGRAM", twin=False)
    parser.add_switch("force", "write over a file that exists", twin=False)
    parser.add_switch("dry-run", "print it, write nothing", twin=False)
    parser.add_switch("json", "print what was found and decided as JSON", twin=False)
    return parser


def _must_not_exist(out: Path, *, forced: bool) -> None:
    if out.exists() and not forced:
        raise CliError(f"cannot write {out}: it exists", "--force writes over it, --out names another file")


def _make_state_directory(path: Path) -> None:
    """The store is in it, and a configuration whose store has no directory is refused."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(
            f"cannot make {path}, where the history is to be: {error.strerror or error}",
            "set XDG_STATE_HOME to a directory that may be written",
        ) from None


def _write(out: Path, text: str) -> None:
    """Write the whole file or none: a daemon may be watching it."""
    beside = out.with_name(f".{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise CliError(f"cannot write {out}: {error.strerror or error}", "choose another --out") from None


def _tell(plan: Plan, skipped: Sequence[Skipped], places: Sequence[Path]) -> None:
    """What was found, on standard error."""
    for each in skipped:
        print(f"swapd: skipped {each.path}: {each.reason}", file=sys.stderr)
    for unused in plan.left_out:
        print(f"swapd: not used: {unused.path}: {unused.reason}", file=sys.stderr)
    count = len(plan.entries)
    print(f"swapd: {count} {'model' if count == 1 else 'models'} found", file=sys.stderr)
    if not plan.entries:
        print(
            f"hint: none in {', '.join(map(str, places))}; name a directory with GGUF files", file=sys.stderr
        )


def _print_json(plan: Plan, skipped: Sequence[Skipped], text: str) -> None:
    import json

    document = {
        "memory": {"ram": plan.memory.ram, "vram": plan.memory.vram, "gpus": plan.memory.gpus},
        "models": [
            {
                "id": entry.id,
                "path": str(entry.model.path),
                "kind": entry.model.kind.value,
                "size": entry.model.size_bytes,
                "needs": entry.fit.needs_bytes,
                "context": entry.fit.context or None,
                "gpu_layers": entry.fit.gpu_layers,
            }
            for entry in plan.entries
        ],
        "not_used": [{"path": str(each.path), "reason": each.reason} for each in (*plan.left_out, *skipped)],
        "configuration": text,
    }
    print(json.dumps(document, indent=2, ensure_ascii=False))


class _Progress:
    """Says how many files have been read, on a terminal, once that takes longer than a second."""

    def __init__(self) -> None:
        self._begun = self._shown = time.monotonic()
        self._is_there = False

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_there:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, count: int) -> None:
        now = time.monotonic()
        if now - self._begun < PATIENCE_S or now - self._shown < 0.1 or not sys.stderr.isatty():
            return
        self._shown = now
        self._is_there = True
        print(f"\r{count} files read", end="", file=sys.stderr, flush=True)
