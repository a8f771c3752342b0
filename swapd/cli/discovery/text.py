"""Writes a plan down as a configuration, with a comment for each decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from swapd.cli.discovery.find import Kind, Skipped
from swapd.cli.discovery.plan import Entry, Plan, in_words
from swapd.config.yaml_writer import scalar_text

TTL_S = 600


def configuration(plan: Plan, *, server: str, server_found: bool, store: Path) -> str:
    """The text of a configuration, ended by a line feed. `server` is llama.cpp's server, `store` where the
    history of requests is kept."""
    return "".join(line + "\n" for line in _lines(plan, server, server_found, store))


def _lines(plan: Plan, server: str, server_found: bool, store: Path) -> Iterator[str]:
    yield f"# Written by `swapd init` for this machine: {_machine(plan)}."
    yield "# All of it may be changed. `swapd check` says what is wrong, `swapd --config FILE` serves it, and"
    yield "# `swapd schema` makes an editor explain and complete every key."
    yield ""
    yield f"globalTTL: {TTL_S}  # stop a model after ten minutes without a request; 0 keeps it"
    yield ""
    yield "store:"
    yield "  # The history of requests; without this, only the newest are kept, in memory."
    yield f"  path: {scalar_text(str(store))}"
    yield ""
    yield "macros:"
    yield "  # What all commands have in common; swapd chooses the port."
    if not server_found:
        yield "  # llama-server was not found in PATH: install llama.cpp, or write its full path here."
    yield f"  llama-server: {scalar_text(server + ' --host 127.0.0.1 --port ${PORT}')}"
    yield ""
    yield from _models(plan.entries)
    if plan.left_out:
        yield ""
        yield from _not_used(plan.left_out)
    yield ""
    yield from _sharing(plan)


def _machine(plan: Plan) -> str:
    memory = plan.memory
    gpus = {0: "no GPU", 1: "one GPU"}.get(memory.gpus, f"{memory.gpus} GPUs")
    return f"{in_words(memory.ram)} of memory, {gpus}" + (
        f" with {in_words(memory.vram)}" if memory.vram else ""
    )


def _models(entries: Iterable[Entry]) -> Iterator[str]:
    entries = list(entries)
    if not entries:
        yield "models: {}"
        return
    yield "models:"
    for number, entry in enumerate(entries):
        if number:
            yield ""
        yield f"  # {_comment(entry.remark)}"
        yield f"  {scalar_text(entry.id)}:"
        name = entry.model.header.text("general.name").strip()
        if name and "${" not in name:
            yield f"    name: {scalar_text(name)}"
        yield f"    cmd: {scalar_text(' '.join(('${llama-server}', *entry.flags)))}"
        if entry.model.kind is Kind.RERANKER:
            yield "    capabilities: {reranker: true}"
        if entry.model.projector is not None:
            yield "    capabilities: {in: [text, image], out: [text]}"


def _not_used(left_out: Iterable[Skipped]) -> Iterator[str]:
    yield "# Not used:"
    for each in left_out:
        yield f"#   {_comment(str(each.path))}"
        yield f"#     {_comment(each.reason)}"


def _sharing(plan: Plan) -> Iterator[str]:
    yield "# One model runs at a time, and makes room for the next."
    if not plan.together:
        if len(plan.entries) > 1:
            yield "# No two of these are likely to fit into the memory at once."
        return
    needs = in_words(sum(entry.fit.needs_bytes for entry in plan.together))
    room = in_words(plan.memory.for_models)
    yield f"# These two are likely to fit at once ({needs} of {room}); to let them:"
    yield "#"
    yield "# routing:"
    yield "#   router:"
    yield "#     use: matrix"
    yield "#     settings:"
    yield "#       matrix:"
    yield "#         vars:"
    for letter, entry in zip("ab", plan.together, strict=True):
        yield f"#           {letter}: {scalar_text(entry.id)}"
    yield "#         sets:"
    yield "#           together: a & b"


def _comment(text: str) -> str:
    """A text that stays in its line, whatever a file says about itself."""
    return "".join(character if character.isprintable() else "?" for character in text)
