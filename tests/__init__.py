"""Functional tests, and the programs that measure: `python -m tests.stress`, `python -m tests.speedup`."""
