"""A program of its own: ten million requests, or as many as told, against nothing; prints their memory."""

import contextlib
import ctypes
import json
import sys

import psutil

from harness.load.measure import LocalGenerators
from harness.load.workload import NullSubject

REQUESTS = 10_000_000
CLIENTS = 2
WARM_UP = 100_000
"""Requests before the memory is looked at first: what is made once does not grow."""


def main(requests: int = REQUESTS) -> None:
    """Measure; print what was done, in how many seconds, and the resident megabytes of all processes.

    ``before`` and ``settled``, afterwards, are without what the allocator of this process keeps though it is
    free; ``after`` is with it. The load generators do not grow at all.
    """
    with LocalGenerators(NullSubject(), CLIENTS, in_flight=50) as generators:
        generators.requests(WARM_UP // CLIENTS)
        before = _settled(generators)
        measured = generators.requests(requests // CLIENTS)
        found = {"before": before, "after": _resident(generators), "settled": _settled(generators)}
    print(json.dumps({"done": measured.done, "seconds": measured.seconds, **found}))


def _settled(generators: LocalGenerators) -> float:
    with contextlib.suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return _resident(generators)


def _resident(generators: LocalGenerators) -> float:
    processes = [psutil.Process(), *map(psutil.Process, generators.pids)]
    return sum(process.memory_info().rss for process in processes) / 1e6


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
