"""`python -m swapd.testing.upstream`; `--help` lists the knobs."""

from swapd.testing.upstream.process import main

main()
