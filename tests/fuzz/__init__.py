"""Hostile input, made by hypothesis, for the two places that everything a client sends goes through.

The suite runs a few hundred examples of each. For longer: `python -m tests.fuzz 600` (seconds for each).
"""
