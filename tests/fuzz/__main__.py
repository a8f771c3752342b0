"""`python -m tests.fuzz SECONDS [NAME]`: run each fuzz test for so long, with new examples each time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tests.fuzz import test_http1, test_json
from tests.fuzz.test_json import SHORT

TESTS: dict[str, Any] = {
    name: each
    for module in (test_http1, test_json)
    for name, each in vars(module).items()
    if name.startswith("test_") and hasattr(each, "hypothesis")
}


def main() -> None:
    seconds = float(sys.argv[1])
    for name, test in TESTS.items():
        if len(sys.argv) < 3 or sys.argv[2] in name:
            sys.stdout.write(f"{name}: {run(test, seconds)} examples, nothing found\n")
            sys.stdout.flush()


def run(test: Callable[[], None], seconds: float) -> int:
    """How many examples passed. What one finds is raised."""
    end, examples = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        test()
        examples += SHORT.max_examples
    return examples


if __name__ == "__main__":
    main()
