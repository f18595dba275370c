"""Points in words, for progress, tables and the report."""

from collections.abc import Iterable

from harness.probes.anatomy.profile import Profile
from harness.record.run import Capacity, Result
from harness.record.scaling_trial import ScalingTrial
from harness.report.scaling_words import describe_scaling, scaling_figures
from lab.middlewares import MIDDLEWARES


def describe(result: Result) -> str:
    """Return a line about *result*."""
    if isinstance(result, ScalingTrial):
        return describe_scaling(result)
    if isinstance(result, Profile):
        return f"anatomy of a request: {_microseconds(result)} of CPU, all processes"
    if isinstance(result, Capacity):
        flaws = f"; INVALID: {'; '.join(result.objections)}" if result.objections else ""
        return f"capacity {capacity(result)} at p99 <= {result.objective_ms:g} ms{flaws}"
    measured = result.measurement
    side = f"{result.setting}: " if result.setting else ""
    load = f"{side}{nodes(result.nodes)}, {result.clients} clients x {result.in_flight}"
    if measured.throughput is None:
        return f"{load}: {'; '.join(result.objections)}; no throughput"
    p50, p99 = (milliseconds(measured.response_ms.get(name)) for name in ("p50", "p99"))
    offered = f" of {measured.offered:,.0f}/s planned" if measured.offered else ""
    flaws = f"; INVALID: {'; '.join(result.objections)}" if result.objections else ""
    if result.experiment == "requests" and all(flaw.startswith("too short") for flaw in result.objections):
        flaws = "; too short to rely on" if flaws else ""  # so begins every ramp
    times = f"p50 {p50} ms, p99 {p99} ms"
    return f"{load}: {measured.done:,} requests, {measured.throughput:,.0f}/s{offered}, {times}{flaws}"


def figures(result: Result) -> str:
    """Return the shortest account of *result*."""
    if isinstance(result, ScalingTrial):
        return scaling_figures(result)
    if isinstance(result, Profile):
        return _microseconds(result)
    if isinstance(result, Capacity):
        return capacity(result)
    p99 = milliseconds(result.measurement.response_ms.get("p99"))
    return f"{result.throughput:,.0f}/s, p99 {p99} ms"


def not_here(brokers: Iterable[str]) -> str:
    """Say which brokers are missing, and so why something was not measured."""
    return f"no {' and no '.join(sorted(brokers))} here"


def system_name(middleware: str, architecture: str) -> str:
    """Return what a system is called in tables and plots."""
    return f"{MIDDLEWARES[middleware].label}, {architecture}"


def capacity(found: Capacity) -> str:
    """Return the interval in which a capacity lies."""
    if found.high is None:
        return f"above {found.low:,.0f}/s"
    if not found.low:
        return f"below {found.high:,.0f}/s"
    return f"{found.low:,.0f} to {found.high:,.0f}/s"


def nodes(number: int) -> str:
    """Return "1 node", "2 nodes"."""
    return "1 node" if number == 1 else f"{number} nodes"


def milliseconds(value: float | None) -> str:
    """Return a time with three digits; "-" where there were too few samples."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _microseconds(profile: Profile) -> str:
    return f"{1000 * profile.total.value:,.0f} us" if profile.repetitions else f"skipped: {profile.missing}"
