"""Why a measurement must not be concluded from. An invalid one is shown in red."""

from harness.record.summary import Measurement
from harness.statistics import is_stationary

SHORTEST_SECONDS = 0.7
FEWEST_REQUESTS = 100
"""Of which one more or less is a percent. Percentiles that need more are not shown."""
MOST_GENERATOR_CPU = 0.8
"""Of a core, for each load generator process: above, it may be the generator that is measured."""
LEAST_HEADROOM = 2.0
LATE_MS, LATE_SHARE = 1.0, 0.05
LEAST_ACHIEVED = 0.99
"""Of the planned rate. With less, the system does not keep up, and all clients wait for it: sending late is
then no fault of theirs, and the response times say so."""


def client_bound(measured: Measurement, *, processes: int, null_rate: float = 0.0) -> list[str]:
    """Return in words why the load generators, and not the system, may have been the limit."""
    found = []
    share = measured.generator_cpu_seconds / max(measured.seconds, 1e-9) / processes
    if share > MOST_GENERATOR_CPU:
        found.append(f"client-bound: each load generator used {share:.0%} of a core")
    rate = measured.throughput or 0.0
    if null_rate and null_rate < LEAST_HEADROOM * rate:
        found.append(f"client-bound: the load generators alone make {null_rate:,.0f}/s, less than twice this")
    return found


def objections(measured: Measurement, *, processes: int, null_rate: float = 0.0) -> list[str]:
    """Return in words what is wrong with *measured*; nothing if it can be relied on.

    *processes* load generators made it; against a middleware that takes no time they make *null_rate*
    requests per second (0: not measured).
    """
    if not (measured.made and measured.is_whole):
        return [_losses(measured)]
    found = []
    if measured.out_of_range:
        found.append(f"{measured.out_of_range} response times were under 1 us or over 60 s")
    if measured.seconds < SHORTEST_SECONDS or measured.done < FEWEST_REQUESTS:
        found.append(f"too short: {measured.done:,} requests in {measured.seconds:.2f} s")
    found += client_bound(measured, processes=processes, null_rate=null_rate)
    late, p99 = measured.late_p99_ms, measured.response_ms.get("p99")
    keeps_up = (measured.achieved_share or 0.0) >= LEAST_ACHIEVED
    if keeps_up and late is not None and late > max(LATE_MS, LATE_SHARE * (p99 or 0.0)):
        found.append(f"sent late: the 99th percentile of the delay before sending is {late:.1f} ms")
    if not found and not is_stationary(measured.slices):
        found.append("not stationary: the throughput changed within the window")
    return found


def _losses(measured: Measurement) -> str:
    parts = {
        "lost": measured.lost,
        "answered wrongly": measured.wrong,
        "answered twice": measured.duplicates,
        **{f"refused with {code}": count for code, count in measured.failed.items()},
    }
    said = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
    return f"of {measured.made:,} requests {said}" if said else "no request was made"
