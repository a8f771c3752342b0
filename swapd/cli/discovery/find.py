"""Looks for models on a disk: which files there are, and which of them belong together."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from swapd.cli.discovery.gguf import GGUFError, Header, read_header

MAX_FILES: Final = 10_000
MAX_DEPTH: Final = 12
_SHARD: Final = re.compile(r"-(\d{5})-of-(\d{5})$")
_DRAFT: Final = re.compile(r"(^|[-_.])(draft|dft|eagle\d*|mtp)([-_.]|$)", re.IGNORECASE)
_PROJECTOR: Final = re.compile(r"(^|[-_.])mmproj([-_.]|$)", re.IGNORECASE)

_POOLING_RANK: Final = 4
_ENCODERS: Final = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert"}
    | {"eurobert", "gemma-embedding", "t5encoder"}
)


class Kind(enum.Enum):
    """What a model is for."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    DRAFT = "draft"
    """A small model that speculates for a large one."""
    ADAPTER = "adapter"


@frozen
class FoundModel:
    """A model on the disk: its first file, and what belongs to it."""

    path: Path
    kind: Kind
    header: Header
    size_bytes: int
    """Of all its files, the projector included."""
    projector: Path | None = None
    missing_shards: tuple[int, ...] = ()

    @property
    def stem(self) -> str:
        """The file's name without what only says that it is one of several."""
        return _SHARD.sub("", self.path.stem)


@frozen
class Skipped:
    """A file that is not used, and why."""

    path: Path
    reason: str


@frozen
class Findings:
    models: tuple[FoundModel, ...]
    skipped: tuple[Skipped, ...]


def usual_places(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Where models lie that others have downloaded: Hugging Face's hub cache, llama.cpp's, LM Studio's
    folders, and two that people choose themselves."""
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    hugging_face = Path(environ.get("HF_HOME") or cache / "huggingface")
    return [
        Path(environ.get("HF_HUB_CACHE") or hugging_face / "hub"),
        Path(environ.get("LLAMA_CACHE") or cache / "llama.cpp"),
        home / ".lmstudio" / "models",
        cache / "lm-studio" / "models",
        home / "models",
        Path("/models"),
    ]


def find_models(places: Iterable[Path], progress: Callable[[int], None] = lambda count: None) -> Findings:
    """Read the headers of all GGUF files at or below the places; the same file is taken once.

    `progress` is told how many files have been read. What cannot be read is skipped, with a reason.
    """
    models: list[FoundModel] = []
    skipped: list[Skipped] = []
    paths = list(_files(places, skipped))
    projectors: dict[Path, list[Path]] = {}
    whole, shards = _grouped(paths)
    read: list[tuple[Path, Header, Sequence[Path], tuple[int, ...]]] = []
    for count, (path, parts, missing) in enumerate((*whole, *shards), 1):
        progress(count)
        try:
            header = read_header(path)
        except (GGUFError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            skipped.append(Skipped(path, reason or str(error)))
            continue
        if _is_projector(path, header):
            projectors.setdefault(path.parent, []).append(path)
        else:
            read.append((path, header, parts, missing))
    for path, header, parts, missing in read:
        kind = _kind(path, header)
        projector = _projector_for(path, projectors) if kind is Kind.CHAT else None
        files = [*parts, projector] if projector else parts
        size = sum(file.stat().st_size for file in files)
        models.append(FoundModel(path, kind, header, size, projector, missing))
    return Findings(tuple(sorted(models, key=lambda model: str(model.path))), tuple(skipped))


def _files(places: Iterable[Path], skipped: list[Skipped]) -> Iterator[Path]:
    """The GGUF files, each once, in the order of their names. Links to files are followed, those to
    directories are not."""
    seen: set[tuple[int, int]] = set()
    count = 0
    for place in places:
        for path in sorted(_walk(place)):
            try:
                status = path.stat()
            except OSError as error:
                skipped.append(Skipped(path, error.strerror or str(error)))
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            count += 1
            if count > MAX_FILES:
                skipped.append(Skipped(path, f"more than {MAX_FILES} files"))
                return
            yield path


def _walk(place: Path) -> Iterator[Path]:
    place = place.absolute()
    if place.is_file():
        yield place
        return
    for directory, below, names in os.walk(place):
        if len(Path(directory).relative_to(place).parts) >= MAX_DEPTH:
            below.clear()
        for name in names:
            if name.lower().endswith(".gguf"):
                yield Path(directory, name)


Part = tuple[Path, Sequence[Path], tuple[int, ...]]


def _grouped(paths: Sequence[Path]) -> tuple[list[Part], list[Part]]:
    """Files that stand alone, and those in several parts: the first, all of them, and which are missing."""
    whole: list[Part] = []
    parts: dict[tuple[Path, str, int], dict[int, Path]] = {}
    for path in paths:
        if match := _SHARD.search(path.stem):
            key = (path.parent, _SHARD.sub("", path.stem), int(match[2]))
            parts.setdefault(key, {})[int(match[1])] = path
        else:
            whole.append((path, [path], ()))
    shards: list[Part] = []
    for (_, _, count), there in parts.items():
        missing = tuple(number for number in range(1, count + 1) if number not in there)
        shards.append((there[min(there)], list(there.values()), missing))
    return whole, shards


def _is_projector(path: Path, header: Header) -> bool:
    return header.text("general.architecture") == "clip" or bool(_PROJECTOR.search(path.stem))


def _projector_for(path: Path, projectors: Mapping[Path, Sequence[Path]]) -> Path | None:
    """The projector in the same folder; of several the one whose name has most in common with the model's."""
    beside = projectors.get(path.parent)
    if not beside:
        return None
    words = set(re.split(r"[-_.]", path.stem.lower()))
    return max(beside, key=lambda each: len(words & set(re.split(r"[-_.]", each.stem.lower()))))


def _kind(path: Path, header: Header) -> Kind:
    architecture = header.text("general.architecture")
    pooling = header.number(f"{architecture}.pooling_type")
    if header.text("general.type") == "adapter":
        return Kind.ADAPTER
    if pooling == _POOLING_RANK or "rerank" in path.stem.lower():
        return Kind.RERANKER
    if pooling or architecture in _ENCODERS or "embed" in path.stem.lower():
        return Kind.EMBEDDING
    return Kind.DRAFT if _DRAFT.search(path.stem) else Kind.CHAT
