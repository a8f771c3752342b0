"""Finding, reading and preparing the source files (step 1 of a load)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping as MappingABC
from os.path import abspath
from pathlib import Path

from msgspec import Struct

from swapd.config import nodes
from swapd.config.environment import substitute
from swapd.config.nodes import is_null, kind_of, path_at
from swapd.config.problems import ProblemLog
from swapd.config.sources import Sources, SourceText
from swapd.config.yaml_reader import parse

YAML_SUFFIXES = (".yml", ".yaml")


def source_paths(sources: Sources, log: ProblemLog) -> list[Path]:
    """The files to read, in order."""
    if not sources.files and sources.directory is None:
        log.error(
            "source-missing",
            "no configuration was named",
            hint="give --config FILE or --config-dir DIR",
        )
        return []
    paths = list(sources.files)
    if sources.directory is not None:
        try:
            found = yaml_files(sources.directory)
        except OSError as error:
            log.error(
                "source-unreadable",
                f"the directory {sources.directory} cannot be read: {error.strerror or error}",
                file=sources.directory,
                hint="check the path given with --config-dir and its permissions",
            )
            return []
        if not found and not sources.files:
            log.error(
                "source-none",
                f"the directory {sources.directory} holds no .yml or .yaml file",
                file=sources.directory,
                hint="put a configuration there, or name a file with --config",
            )
        paths += found
    return _without_overlap(paths, log)


def yaml_files(directory: Path) -> list[Path]:
    """The regular `*.yml` and `*.yaml` files right in a directory, in byte order of their names.

    Raises OSError when the directory cannot be read.
    """
    return sorted(
        path for path in directory.iterdir() if path.name.endswith(YAML_SUFFIXES) and path.is_file()
    )


def _without_overlap(paths: list[Path], log: ProblemLog) -> list[Path]:
    seen: set[str] = set()
    kept: list[Path] = []
    for path in paths:
        normal = abspath(path)  # noqa: PTH100 - lexical: symlinks are not resolved for this comparison
        if normal in seen:
            log.error(
                "source-overlap",
                f"{path} is given twice, by --config and --config-dir or by two --config",
                file=path,
                hint="leave one of them out",
            )
            continue
        seen.add(normal)
        kept.append(path)
    return kept


class ReadFile(Struct, frozen=True):
    """A file as it was read: SHA-256 of its contents, modification time in seconds since the epoch."""

    path: Path
    sha256: str
    mtime: float


class ReadSource(Struct, frozen=True, eq=False):
    """A file and its tree; `root` is None when the file contributes nothing or is broken."""

    file: ReadFile
    root: nodes.Mapping | None


def read_source(path: Path, environ: MappingABC[str, str], log: ProblemLog) -> ReadSource | None:
    """Read one file, or None when it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read()
            mtime = os.fstat(file.fileno()).st_mtime
    except OSError as error:
        log.error(
            "source-unreadable",
            f"{path} cannot be read: {error.strerror or error}",
            file=path,
            hint="check the path and its permissions",
        )
        return None
    try:
        written = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        log.error(
            "source-unreadable",
            f"{path} is not UTF-8 (byte {error.start})",
            file=path,
            hint="save the file as UTF-8",
        )
        return None
    source = substitute(str(path), written, path, environ, log)
    read = ReadFile(path, hashlib.sha256(content).hexdigest(), mtime)
    return ReadSource(read, parse_root(source, log))


def parse_root(source: SourceText, log: ProblemLog) -> nodes.Mapping | None:
    """The root mapping of a text; None when it is empty or broken."""
    root = parse(source, log)
    for trouble in source.troubles:
        path = () if root is None else path_at(root, trouble.start)
        span = (source, trouble.start, trouble.end)
        log.error(trouble.code, trouble.message, span=span, path=path, hint=trouble.hint)
    if root is None or is_null(root):
        return None
    if not isinstance(root, nodes.Mapping):
        log.error(
            "yaml-root",
            f"the document must be a mapping of keys, this one is a {kind_of(root)}",
            at=root,
            hint="a configuration starts with keys such as models: at the left margin",
        )
        return None
    return root
