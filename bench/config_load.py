"""What loading a large configuration costs: 1,000 models with macros, a matrix of 10,000 sets.

Measured in fresh processes, as CPU time, beside what the YAML library alone takes to compose the same text in
the same process. No server runs in this part.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.results import Results
from bench.scale import Scale
from bench.targets import Target

MODELS = 1_000
SETS = 10_000
"""Ten alternatives for each of four places."""

_HEAD = """\
macros:
  models: /srv/models
  server: llama-server --host 127.0.0.1 --port ${PORT}
  common: ${server} --jinja --flash-attn on
globalTTL: 600
models:
"""

_MODEL = """\
  model-{n:04}:
    name: Model number {n}
    macros:
      context: {context}
    cmd: |
      ${{common}}
      --model ${{models}}/${{MODEL_ID}}.gguf
      --ctx-size ${{context}}
    aliases:
      - alias-{n:04}
    ttl: {n}
    metadata:
      context: ${{context}}
"""


def large_configuration() -> str:
    """The text that is loaded: some 13,000 lines, 250 KB."""
    models = "".join(_MODEL.format(n=n, context=4096 * (1 + n % 8)) for n in range(MODELS))
    places = [" | ".join(f"model-{place * 10 + n:04}" for n in range(10)) for place in range(4)]
    return _HEAD + models + f"matrix:\n  sets:\n    all: {' & '.join(f'({place})' for place in places)}\n"


def measure(target: Target, scale: Scale, results: Results) -> None:
    """`config/load`, `config/reload`, `config/compose` as `cpu_ms`, `config/memory` as `bytes`."""
    for _ in range(scale.repeats):
        output = subprocess.run(
            [sys.executable, "-m", "bench.config_load"], check=True, capture_output=True, text=True
        ).stdout
        for name, (quantity, value) in json.loads(output).items():
            results.add(f"config/{name}", quantity, target, value)


def _measure_here() -> dict[str, tuple[str, float]]:
    """One round in this process. A reload is a load with the ports in use, and finds that nothing changed."""
    from ruamel.yaml import YAML

    from swapd.config import Config, loads

    text = large_configuration()
    kept: list[Config] = []

    def load() -> None:
        ports = {id: model.port for id, model in kept[0].models.items() if model.port} if kept else {}
        config = loads(text, environ={}, sticky_ports=ports).config
        assert config is not None
        assert len(config.models) == MODELS
        if kept:
            assert kept[0] == config
        else:
            kept.append(config)

    before = _peak_bytes()
    first_s = _cpu_s(load)
    figures = {"load": ("cpu_ms", 1000 * first_s), "memory": ("bytes", _peak_bytes() - before)}
    figures["reload"] = ("cpu_ms", 1000 * _cpu_s(load))
    figures["compose"] = ("cpu_ms", 1000 * _cpu_s(lambda: YAML(typ="safe", pure=True).compose(text)))
    return figures


def _cpu_s(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _peak_bytes() -> float:
    """The highest resident size of this process so far (getrusage(2): in KiB on Linux)."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    print(json.dumps(_measure_here()))
