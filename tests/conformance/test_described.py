"""The daemon does what `/openapi.json` says of it, whatever it is asked.

schemathesis makes requests of the description, well-formed and not, and looks at the answers: no failure of
the server, no status, media type or body that is not described, no way around the key, and nothing that is
taken although it is wrong. Longer, by hand:

    python -m tests.conformance.test_described EXAMPLES_PER_OPERATION
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from tests.setups import config

pytestmark = pytest.mark.real

KEY = "a-key-that-nobody-guesses"
LIMIT_S = 180
ENDLESS = "^/api/events$|^/logs/stream"
REFUSED = "^/api/(pull|push|create|copy|delete)$"
"""Ollama's routes that change models: always 501, which would count as a failure of the server."""

OPTIONS = """\
[parameters]
"path.model" = "owl"
"query.model" = "owl"

# A model's server has its own opinion of what a good request is, and what an answer to a wrong key.
[[operations]]
include-tag = "models"
checks.positive_data_acceptance.enabled = false

# An empty parameter counts as a missing one, and the order of two times is in no schema.
[[operations]]
include-path-regex = "^/api/(metrics/|performance)"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false

# Whatever is no "no" is a yes, as it always was.
[[operations]]
include-path-regex = "^/metrics$|/unload|/load/|/restart/|^/api/session$|^/api/captures/"
checks.negative_data_rejection.enabled = false

# It leads to the same path with a slash, by any method.
[[operations]]
include-path = "/upstream"
checks.unsupported_method.enabled = false
"""


@pytest.fixture
def setup() -> str:
    return config(
        {"owl": {"cmd": upstream_command(), "aliases": ["owlet"]}, "wren": upstream_command()},
        apiKeys=[KEY],
        profiles={"day": {"pins": {"bird": "owl"}}},
    )


async def test_given_requests_of_all_kinds_when_sent_then_each_answer_is_as_described(
    setup: str, tmp_path: Path
) -> None:
    async with run_daemon(setup, tmp_path) as running:
        done = await schemathesis(running, tmp_path, examples=1, limit_s=LIMIT_S)
    assert done.returncode == 0, done.stdout


async def schemathesis(
    running: Daemon, directory: Path, *, examples: int, limit_s: float
) -> subprocess.CompletedProcess[str]:
    options = directory / "schemathesis.toml"
    options.write_text(OPTIONS)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(options)),
        *("run", f"{running.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(examples)),
        *("--exclude-path-regex", f"{ENDLESS}|{REFUSED}", "--request-timeout", "20"),
        *("--generation-deterministic", "--no-color", "--output-truncate", "true"),
    ]
    run = partial(
        subprocess.run,
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )
    return await trio.to_thread.run_sync(run)


async def _main(examples: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        models = {"owl": upstream_command(), "wren": upstream_command()}
        async with run_daemon(config(models, apiKeys=[KEY]), Path(directory)) as running:
            done = await schemathesis(running, Path(directory), examples=examples, limit_s=3600)
    sys.stdout.write(done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(trio.run(_main, int(sys.argv[1])))
