"""`python -m swapd`, and what the console script `swapd` calls."""

from __future__ import annotations

import sys

from swapd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
