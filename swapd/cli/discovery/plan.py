"""Decides what the configuration says about each model that was found: its id, its command, and why."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

from attrs import evolve, frozen

from swapd.cli.discovery.find import FoundModel, Kind, Skipped
from swapd.cli.discovery.fit import GIB, Fit, Memory, fit

_QUANTISATION: Final = re.compile(
    r"[-_.](?:UD-)?(?:i?q\d+(?:_[a-z0-9]+)*|tq\d_\d|bf16|f16|f32|fp16|mxfp4(?:_moe)?)$", re.IGNORECASE
)


@frozen
class Entry:
    """A model in the configuration."""

    id: str
    model: FoundModel
    fit: Fit
    flags: tuple[str, ...]
    remark: str


@frozen
class Plan:
    memory: Memory
    entries: tuple[Entry, ...]
    left_out: tuple[Skipped, ...]
    """Files that the configuration only mentions."""
    together: tuple[Entry, ...]
    """Some that fit into the memory at once, for an example; empty if no two do."""


def make_plan(models: Sequence[FoundModel], memory: Memory) -> Plan:
    """What to write about these models on a machine with this memory."""
    entries: list[Entry] = []
    left_out: list[Skipped] = []
    for model in models:
        how = fit(model, memory)
        if reason := _reason_against(model, how, memory):
            left_out.append(Skipped(model.path, reason))
        else:
            entries.append(
                Entry(_id(model.stem), model, how, _flags(model, how, memory), _remark(model, how))
            )
    named = _with_unique_ids(entries)
    return Plan(memory, named, tuple(left_out), _together(named, memory))


def in_words(size_bytes: float) -> str:
    """An amount of memory as it is said: `4.7 GiB`, `320 MiB`."""
    if size_bytes < GIB:
        return f"{max(1, round(size_bytes / 1024**2))} MiB"
    return f"{size_bytes / GIB:.1f} GiB"


def _reason_against(model: FoundModel, how: Fit, memory: Memory) -> str:
    if model.missing_shards:
        numbers = ", ".join(map(str, model.missing_shards[:8]))
        return f"a model in several files, of which some are missing: {numbers}"
    if "${" in str(model.path):
        return "its name holds ${, which a configuration takes for a macro: rename it"
    if any(ord(character) < 32 for character in str(model.path)):
        return "its name holds a control character: rename it"
    if model.kind is Kind.ADAPTER:
        return "an adapter, to be used with its model: --lora"
    if model.kind is Kind.DRAFT:
        return "a draft model, to be used with a larger one of its family: --model-draft"
    if not how.possible:
        return f"it needs about {in_words(how.needs_bytes)}, more than this machine has for it"
    return ""


def _flags(model: FoundModel, how: Fit, memory: Memory) -> tuple[str, ...]:
    flags = ["--model", shlex.quote(str(model.path))]
    if model.projector is not None:
        flags += ["--mmproj", shlex.quote(str(model.projector))]
    if how.context:
        flags += ["--ctx-size", str(how.context)]
    if model.kind is Kind.EMBEDDING:
        flags.append("--embeddings")
    if model.kind is Kind.RERANKER:
        flags.append("--reranking")
    if memory.vram:
        flags += ["--n-gpu-layers", "99" if how.gpu_layers is None else str(how.gpu_layers)]
    return tuple(flags)


def _remark(model: FoundModel, how: Fit) -> str:
    architecture = model.header.text("general.architecture")
    parts = [
        f"{model.kind.value}, {architecture or 'unknown architecture'}, {in_words(model.size_bytes)} on disk"
    ]
    needs = f"needs about {in_words(how.needs_bytes)}"
    if how.context:
        trained = model.header.number(f"{architecture}.context_length")
        needs += f" with {how.context} tokens of context"
        if trained > how.context:
            needs += f" (it was trained for {trained})"
    parts.append(needs)
    if how.gpu_layers is not None:
        parts.append(f"{how.gpu_layers} of its layers fit into the GPU's memory, the rest is slower")
    return "; ".join(parts)


def _id(stem: str) -> str:
    """A file's name as people say it: `Qwen3-8B-Q4_K_M` is `qwen3-8b`."""
    return _cleaned(_QUANTISATION.sub("", stem)) or _cleaned(stem) or "model"


def _cleaned(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")


def _with_unique_ids(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Those whose short ids are the same keep what tells them apart, or get a number."""
    entries = list(entries)
    short = [entry.id for entry in entries]
    taken: set[str] = set()
    named = []
    for entry in entries:
        base = entry.id if short.count(entry.id) == 1 else _cleaned(entry.model.stem) or entry.id
        id, number = base, 1
        while id in taken:
            number += 1
            id = f"{base}-{number}"
        taken.add(id)
        named.append(evolve(entry, id=id))
    return tuple(named)


def _together(entries: Sequence[Entry], memory: Memory) -> tuple[Entry, ...]:
    """A chat model and a helper that fit at once; else any two that do. The largest, as that is of use."""
    pairs = [
        pair
        for pair in combinations(entries, 2)
        if sum(entry.fit.needs_bytes for entry in pair) <= memory.for_models
    ]
    mixed = [pair for pair in pairs if {entry.model.kind for entry in pair} & {Kind.CHAT} and _differ(pair)]
    best = max(mixed or pairs, key=lambda pair: sum(entry.fit.needs_bytes for entry in pair), default=())
    return tuple(best)


def _differ(pair: tuple[Entry, Entry]) -> bool:
    return pair[0].model.kind is not pair[1].model.kind
