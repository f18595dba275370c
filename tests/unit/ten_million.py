"""A program of its own: ten million requests, or as many as told, against nothing; prints their memory."""

import json
import sys

import psutil

from tests.harness.measure import LocalGenerators
from tests.harness.subject import NullSubject

REQUESTS = 10_000_000
CLIENTS = 2


def main(requests: int = REQUESTS) -> None:
    """Measure; print what was done, in how many seconds, and all resident megabytes before and after."""
    with LocalGenerators(NullSubject(), CLIENTS, in_flight=50) as generators:
        processes = [psutil.Process(), *map(psutil.Process, generators.pids)]
        before = sum(process.memory_info().rss for process in processes) / 1e6
        measured = generators.requests(requests // CLIENTS)
        after = sum(process.memory_info().rss for process in processes) / 1e6
    print(json.dumps({"done": measured.done, "seconds": measured.seconds, "before": before, "after": after}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
