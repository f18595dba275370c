"""How many processors there are for us."""

import os


def usable_cores() -> int:
    """Return how many processors this process may run on: fewer than the machine has, if it is confined."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
