"""What progress, tables and the report say of a result, and how they write numbers and names."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from harness.analysis.verdicts import Speedup, guarantee_of, place, shown_points
from harness.record.findings import Finding, LibraryShare, Profile, as_json
from harness.record.run import Capacity, FaultTrial, Point, Result, Run, ScalingTrial
from harness.report.faults import describe_fault, variant_name, verdict
from harness.report.findings import finding_lines
from harness.report.scaling import describe_scaling, scaling_figures
from harness.statistics import FEWEST_TRIALS, Estimate
from lab.middleware import MIDDLEWARES


def describe(result: Result) -> str:
    """Return what progress says about *result*; of some results more than one line."""
    match result:
        case ScalingTrial():
            return describe_scaling(result)
        case FaultTrial():
            return describe_fault(result)
        case Profile():
            label = MIDDLEWARES[result.middleware].label
            return f"{label}: anatomy of a request: {_microseconds(result)} of CPU, all processes"
        case Capacity():
            return f"capacity {capacity(result)} at p99 <= {result.objective_ms:g} ms{_flaws(result)}"
        case Finding():
            return "\n".join(finding_lines(result))
        case LibraryShare():
            return (
                f"{result.of_calls:.0%} of the calls and {result.of_cpu:.0%} of the CPU time in the library"
            )
        case _:
            return _point(result)


def _point(point: Point) -> str:
    measured = point.measurement
    setting = f"{point.setting}: " if point.setting else _varied(point)
    load = f"{setting}{nodes(point.nodes)}, {load_words(point)}"
    if measured.throughput is None:
        return f"{load}: {'; '.join(point.objections)}; no throughput"
    p50, p99 = (milliseconds(measured.response_ms.get(name)) for name in ("p50", "p99"))
    offered = f" of {measured.offered:,.0f}/s planned" if measured.offered else ""
    flaws = _flaws(point)
    if point.experiment == "requests" and all(flaw.startswith("too short") for flaw in point.objections):
        flaws = "; too short to rely on" if flaws else ""  # every ramp begins like this
    times = f"p50 {p50} ms, p99 {p99} ms"
    return f"{load}: {measured.done:,} requests, {measured.throughput:,.0f}/s{offered}, {times}{flaws}"


def _varied(point: Point) -> str:
    """Name the variant, where several are measured, and factors that the load does not show."""
    hidden = {name: value for name, value in point.factors.items() if name not in SHOWN}
    said = [variant_name(v) if name == "middleware" else f"{name} {v}" for name, v in hidden.items()]
    return f"{', '.join(said)}: " if said else ""


SHOWN = ("architecture", "nodes", "clients", "in flight", "batch")


def load_words(point: Point) -> str:
    """Say what its clients keep under way: calls or messages in flight, or one batch each."""
    if point.batch:
        return f"{point.clients} clients, batches of {point.batch}"
    return f"{point.clients} clients x {point.in_flight} in flight"


def study_titles(run: Run) -> dict[str, str]:
    """Return the loads of a stress that were measured, and what tables and plots call them."""
    many = " or ".join(str(n) for n in sorted({point.in_flight for point in run.of("pipelined", batch=0)}))
    titles = {
        "requests": "one in flight",
        "pipelined": f"{many} in flight",
        "accepted": "submit to result",
    }
    return {study: title for study, title in titles.items() if run.of(study, batch=0)}


def shown_systems(run: Run) -> dict[tuple[str, str], dict[str, Point]]:
    """Return the point that stands for a system in each study, by what it is called and what it keeps."""
    rows: dict[tuple[str, str], dict[str, Point]] = {}
    shown = [(study, point) for study in study_titles(run) for point in shown_points(run, study)]
    for study, point in sorted(shown, key=lambda one: place(run, one[1])):
        name = (system_name(point.middleware, point.architecture), str(guarantee_of(run, point)))
        rows.setdefault(name, {})[study] = point
    return rows


def _flaws(result: Point | Capacity) -> str:
    return f"; INVALID: {'; '.join(result.objections)}" if result.objections else ""


def figures(result: Result) -> str:
    """Return the shortest account of *result*, for the line of progress."""
    match result:
        case ScalingTrial():
            return scaling_figures(result)
        case FaultTrial():
            return verdict(result)
        case Profile():
            return _microseconds(result)
        case Capacity():
            return capacity(result)
        case Point():
            p99 = milliseconds(result.measurement.response_ms.get("p99"))
            return f"{result.throughput:,.0f}/s, p99 {p99} ms"
        case _:
            return ""


def as_object(run: Run) -> dict[str, object]:
    """Return *run* as JSON has it, with what follows from each finding."""
    return {**asdict(run), "findings": [as_json(finding) for finding in run.findings]}


def busy(run: Run) -> str:
    """Return a warning if others worked on the machine before; empty: nobody did."""
    load, cores = run.environment.get("load_before"), run.environment.get("cores")
    if not isinstance(load, float) or not isinstance(cores, int) or load <= cores / 2:
        return ""
    return (
        f"CAUTION: the machine was busy before the run began (load {load:.1f} on {cores} cores): times vary "
        "more; measure again when it is idle."
    )


def not_here(brokers: Iterable[str]) -> str:
    """Say which brokers are missing, and so why something was not measured."""
    return f"no {' and no '.join(sorted(brokers))} here"


def system_name(middleware: str, architecture: str) -> str:
    """Return what a system is called in tables and plots."""
    return f"{variant_name(middleware)}, {architecture}"


def times(found: Estimate) -> str:
    """Return a factor with its interval, if it has one: "3.7 x (3.5 to 3.9)"."""
    if found.low is None or found.high is None:
        return f"{found.value:.2g} x"
    return f"{found.value:.2g} x ({found.low:.2g} to {found.high:.2g})"


def spread(found: Sequence[Speedup]) -> list[str]:
    """Say how often each was measured, and what the bars are."""
    estimates = [estimate for each in found for estimate in each.estimates.values()]
    fewest, most = (end(estimate.trials for estimate in estimates) for end in (min, max))
    number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    if any(estimate.is_range for estimate in estimates):
        ends = ["bars from the lowest to the highest"] if most > 1 else []
        return [f"{number} repetition{'s' * (most > 1)}", *ends]
    trials = f"{number} trial{'s' * (most > 1)}"
    return [trials, "bars: 95 % intervals"] if fewest >= FEWEST_TRIALS else [trials]


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


def rounded(rate: float) -> str:
    """Return a rate with the three digits that one run supports."""
    return f"{float(f'{rate:.3g}'):,.0f}"


def milliseconds(value: float | None) -> str:
    """Return a time with three digits; "-" where there were too few samples."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _microseconds(profile: Profile) -> str:
    return f"{1000 * profile.total.value:,.0f} us" if profile.repetitions else f"skipped: {profile.missing}"
