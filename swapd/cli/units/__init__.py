"""Unit files for the programs that keep swapd running, one module for each.

Each module has a function from an `Installation` to the files it takes. Nothing here looks at the machine,
except for `installation`, which finds out what the others are told.
"""
