"""From a ledger to times: throughput and p99 over time, and how long a fault held things up. Pure."""

import math
from collections.abc import Iterable, Sequence

from harness.faults.ledger import Entry, Found, Outcome
from harness.record.trials import Timeline

NANOSECONDS = 1e9
TOUCHED_SECONDS = 2.0


def timeline(entries: Sequence[Entry], start_ns: int, slice_seconds: float) -> Timeline:
    """Cut the time from *start_ns* to the last answer into slices."""
    if not entries:
        return Timeline(slice_seconds)
    last = max(entry.done_ns for entry in entries)
    slices = int((last - start_ns) / NANOSECONDS / slice_seconds) + 1
    times: list[list[float]] = [[] for _ in range(slices)]
    unanswered = [0] * slices
    for entry in entries:
        place = int((entry.done_ns - start_ns) / NANOSECONDS / slice_seconds)
        if entry.outcome is Outcome.ACKNOWLEDGED:
            times[place].append((entry.done_ns - entry.planned_ns) / 1e6)
        else:
            unanswered[place] += 1
    return Timeline(
        slice_seconds, [len(each) for each in times], unanswered, [percentile(each, 0.99) for each in times]
    )


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the smallest value that *share* of all do not exceed; the largest where they are few."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(share * len(ordered), 6)) - 1)] if ordered else None


def held_up(at_ns: int, entries: Iterable[Entry], found: Iterable[Found] = ()) -> list[float]:
    """Return how many seconds each request that the fault at *at_ns* could touch then waited for its end.

    That is what was planned before it, or within two seconds after it (a dead node is sent petitions until it
    is known to be dead), and not over; and texts submitted before it that had no result yet. The wait counts
    from the fault or, where that is later, from when the request was planned.
    """
    until_ns = at_ns + int(TOUCHED_SECONDS * NANOSECONDS)
    delays = [
        entry.done_ns - max(at_ns, entry.planned_ns)
        for entry in entries
        if entry.planned_ns < until_ns and entry.done_ns > at_ns
    ]
    waiting = {e.token for e in entries if e.outcome is Outcome.ACKNOWLEDGED and e.done_ns <= at_ns}
    delays += [one.finished_ns - at_ns for one in found if one.finished_ns > at_ns and one.token in waiting]
    return [delay / NANOSECONDS for delay in delays]


def resumed(at_ns: int, entries: Iterable[Entry]) -> float | None:
    """Return after how many seconds the last client had an answer again; None if one never had."""
    firsts: dict[int, int] = {}
    clients = set()
    for entry in entries:
        clients.add(entry.client)
        if entry.outcome is Outcome.ACKNOWLEDGED and entry.done_ns > at_ns:
            firsts[entry.client] = min(entry.done_ns, firsts.get(entry.client, entry.done_ns))
    if not clients or clients != set(firsts):
        return None
    return (max(firsts.values()) - at_ns) / NANOSECONDS
