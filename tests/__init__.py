"""Functional tests, the harness, and the experiments: `python -m tests.stress`, `python -m tests.speedup`."""
