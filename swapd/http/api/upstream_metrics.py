"""`/metrics?upstream=1`: what the running models' servers count themselves, each with its model's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import trio

from swapd.http.api.control import Control
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PATIENCE_S: Final = 2.0
"""How long a server may take for its page; one that is busy with a prompt may not answer at all."""
MOST_BYTES: Final = 4 << 20

_COUNTER: Final = re.compile(r"^# TYPE (\S+) counter", re.MULTILINE)


async def upstream_families(control: Control) -> list[Metric]:
    """The families of all models that are ready and answer, after `PATIENCE_S` at most."""
    models = control.config().models
    ready = [name for name, state in control.running().items() if state is ModelState.READY]
    pages: dict[str, str] = {}

    async def ask(model: str) -> None:
        page = await _page(models[model].proxy.rstrip("/") + "/metrics")
        if page is not None:
            pages[model] = page

    async with trio.open_nursery() as nursery:
        for model in ready:
            nursery.start_soon(ask, model)
    if not pages:
        return []
    return await trio.to_thread.run_sync(_families, {name: pages[name] for name in ready if name in pages})


async def _page(url: str) -> str | None:
    """The text at a URL; None if there is none, or not soon enough, or too much of it."""
    import httpx

    text = b""
    with trio.move_on_after(PATIENCE_S):
        try:
            async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as response:
                if response.status_code != 200:
                    return None
                async for piece in response.aiter_bytes():
                    text += piece
                    if len(text) > MOST_BYTES:
                        return None
                return text.decode("utf-8", "replace")
        except httpx.HTTPError:
            return None
    return None


def _families(pages: dict[str, str]) -> list[Metric]:
    from swapd.observe.prometheus import merged

    return merged(family for model, page in pages.items() for family in _of_model(model, page))


def _of_model(model: str, page: str) -> Iterator[Metric]:
    from prometheus_client.core import Metric
    from prometheus_client.parser import text_string_to_metric_families

    bare = {name for name in _COUNTER.findall(page) if not name.endswith("_total")}
    try:
        for family in text_string_to_metric_families(page):
            # The library knows only counters that end in `_total`, and would call this one so.
            is_bare = family.name in bare
            labelled = Metric(family.name, family.documentation, "unknown" if is_bare else family.type)
            for sample in family.samples:
                labels = {
                    "exported_model" if label == "model" else label: value
                    for label, value in sample.labels.items()
                }
                name = family.name if is_bare else sample.name
                labelled.add_sample(name, {"model": model, **labels}, sample.value, sample.timestamp)
            yield labelled
    except ValueError:
        return  # not the format, or no longer: what was read before that is good
