"""Estimates whether a model fits into this machine's memory, with how much context, and what to offload.

The estimate is deliberately simple, and on the safe side: the weights, the KV cache in 16 bits for every
layer (models with a sliding window need less), and an allowance for compute buffers.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from attrs import frozen

from swapd.cli.discovery.find import FoundModel, Kind

if TYPE_CHECKING:
    from swapd.observe.sampling.probe import GpuSource

GIB: Final = 1024**3
OVERHEAD_BYTES: Final = GIB // 2
"""Compute buffers and what a process takes besides."""
SHARE_OF_VRAM: Final = 0.92
"""The desktop and the driver want some of it, too."""
SHARE_OF_RAM: Final = 0.75
_CONTEXTS: Final = (32_768, 16_384, 8192, 4096)
"""The sizes of context to choose from. More costs memory that few conversations use; whoever wants it writes
it down."""
DRIVER_TIMEOUT_S: Final = 3.0


@frozen
class Memory:
    """What this machine has, in bytes; `vram` is that of all GPUs together, 0 where none was found."""

    ram: int
    vram: int = 0
    gpus: int = 0

    @property
    def for_models(self) -> int:
        """What models may take."""
        return int(self.vram * SHARE_OF_VRAM) if self.vram else int(self.ram * SHARE_OF_RAM)


@frozen
class Fit:
    """How to run a model here."""

    needs_bytes: int
    """With this context, wherever that memory is."""
    context: int
    """Tokens; 0 leaves it to the server."""
    gpu_layers: int | None
    """How many of the layers go to the GPU; None for all, or where there is no GPU."""
    possible: bool = True


def fit(model: FoundModel, memory: Memory) -> Fit:
    """The largest context with which the model fits; if none does, as many layers on the GPU as do."""
    trained = _architecture_number(model, "context_length")
    if model.kind is not Kind.CHAT:
        needs = model.size_bytes + OVERHEAD_BYTES + kv_bytes(model, min(trained or 512, 8192))
        return Fit(needs, 0, None, needs <= max(memory.for_models, int(memory.ram * SHARE_OF_RAM)))
    contexts = [size for size in _CONTEXTS if not trained or size <= trained] or [trained]
    for context in contexts:
        needs = needed(model, context)
        if needs <= memory.for_models:
            return Fit(needs, context, None)
    least = contexts[-1]
    needs = needed(model, least)
    everywhere = memory.for_models + (int(memory.ram * SHARE_OF_RAM) if memory.vram else 0)
    return Fit(needs, least, _layers_on_gpu(model, least, memory), needs <= everywhere)


def needed(model: FoundModel, context: int) -> int:
    """Bytes that a model takes with so many tokens of context."""
    return model.size_bytes + OVERHEAD_BYTES + kv_bytes(model, context)


def kv_bytes(model: FoundModel, context: int) -> int:
    """Bytes of the KV cache: for each token, layer and KV head a key and a value of 16-bit floats."""
    layers = min(_architecture_number(model, "block_count"), 1000)
    heads = max(1, _architecture_number(model, "attention.head_count"))
    width = _architecture_number(model, "embedding_length") // heads
    key = _architecture_number(model, "attention.key_length") or width
    value = _architecture_number(model, "attention.value_length") or width
    architecture = model.header.text("general.architecture")
    kv_heads = model.header.numbers(f"{architecture}.attention.head_count_kv", layers)
    return context * sum(each or 0 for each in kv_heads) * (key + value) * 2


def _layers_on_gpu(model: FoundModel, context: int, memory: Memory) -> int | None:
    if not memory.vram:
        return None
    layers = max(1, _architecture_number(model, "block_count"))
    a_layer = (model.size_bytes + kv_bytes(model, context)) / layers
    return max(0, min(layers, int((memory.for_models - OVERHEAD_BYTES) / a_layer)))


def _architecture_number(model: FoundModel, name: str) -> int:
    return max(0, model.header.number(f"{model.header.text('general.architecture')}.{name}"))


def detect_memory(root: Path = Path("/")) -> Memory:
    """The machine's memory, a container's limit considered, and that of its GPUs."""
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _number_in(root / "sys/fs/cgroup/memory.max")
    gpus = _gpu_memories(root)
    return Memory(min(ram, limit) if limit else ram, sum(gpus), len(gpus))


def _gpu_memories(root: Path) -> list[int]:
    """Bytes of each GPU whose driver tells of it."""
    from swapd.observe.sampling.amd import AmdSource
    from swapd.observe.sampling.nvidia import NvidiaSource

    found: list[int] = []

    def ask(source: GpuSource) -> None:
        with suppress(Exception):  # there is none, or its driver is broken: `swapd doctor` says more
            found.extend(each["memory"]["capacity_bytes"] or 0 for each in source.accelerators())

    for source in (NvidiaSource(), AmdSource(root / "sys/class/drm")):
        # A driver may hang in the kernel; a thread that does is left behind.
        thread = Thread(target=ask, args=(source,), daemon=True)
        thread.start()
        thread.join(DRIVER_TIMEOUT_S)
    return [each for each in found if each]


def _number_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0  # there is no such file, or it says "max"
