"""What the performance figures in the README come from: `make bench`, or `python -m bench --help`.

Everything is measured side by side in one run, because only ratios mean anything: swapd, a plain proxy of
hypercorn and httpx, the upstream without a proxy, nginx if it is installed, and any other program given by
`--peer`. One module a measurement; `targets.py` starts what is measured, `budget.py` says what swapd has to
reach, `report.py` prints it.

The proxy under test has one processor to itself; upstream and load generator share another.
"""
