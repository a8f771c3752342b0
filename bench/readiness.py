"""What a cold start and a swap cost beyond what the model itself takes.

The upstream stamps when its process began and when it was ready, so the overhead is all the rest of the time
that the client waited: deciding, stopping the other model, spawning, noticing that it is ready, relaying.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import client
from bench.results import Results
from bench.scale import Scale
from bench.targets import UNTIL_READY, Target, model_name

_PATH = "/v1/chat/completions"


def measure(targets: Sequence[Target], scale: Scale, results: Results) -> None:
    """`cold/T/mode ms` and `swap/T/mode ms`: T the model's load time in ms, mode what it does meanwhile."""
    swapping = [target for target in targets if target.swaps]
    for _ in range(scale.repeats):
        for load_ms in scale.load_times_ms:
            for mode in UNTIL_READY:
                for target in swapping:
                    _once(target, load_ms, mode, results)
    for target in swapping:
        client.get(target.port, "/unload")


def _once(target: Target, load_ms: int, mode: str, results: Results) -> None:
    model = model_name(load_ms, mode)
    client.get(target.port, "/unload")
    results.add(f"cold/{load_ms}/{mode}", "ms", target, _overhead_ms(target, model))
    _overhead_ms(target, "m1")
    results.add(f"swap/{load_ms}/{mode}", "ms", target, _overhead_ms(target, model))


def _overhead_ms(target: Target, model: str) -> float:
    """Time from the request to its answer, less the time from the model's start to its readiness."""
    asked_at = time.monotonic()
    answer = client.post(target.port, _PATH, {"model": model, "messages": []})
    if answer.status != 200:
        raise RuntimeError(f"{target.name}: {model}: status {answer.status}: {answer.body[:300]!r}")
    stamps = answer.json()
    return 1000 * (answer.arrived_at - asked_at) - (stamps["ready_ns"] - stamps["started_ns"]) / 1e6
