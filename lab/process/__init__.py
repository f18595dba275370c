"""Processes of a system: run a node, start and stop processes, keep them up, know which live."""
