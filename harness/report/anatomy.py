"""The anatomy of a request in words."""

from collections.abc import Sequence

from rich.table import Table

from harness.record.findings import GENERATOR, PARTS, Profile, Segment, ordered
from harness.report.formatting import nodes
from harness.statistics import Estimate
from lab.middleware import MIDDLEWARES
from lab.topology import NODE

SLOWED = 0.9
"""Sampled at less than this of the usual rate, a system is not the one that was to be looked at."""

LABELS = {
    "generator": "load generator and client",
    "node": "nodes",
    "master": "master",
    "name_server": "name server",
    "broadcaster": "broadcaster",
    "redis": "Redis server",
    "rabbitmq": "RabbitMQ server",
}


def anatomy_table(profiles: Sequence[Profile]) -> Table:
    """Return microseconds per request, with their intervals: a row per part, a column per system."""
    shown = [one for one in profiles if one.repetitions]
    table = Table(title="CPU microseconds per request (interval of the repetitions)", title_justify="left")
    table.add_column("part")
    for one in shown:
        table.add_column(f"{MIDDLEWARES[one.middleware].label}\n{nodes(one.nodes)}", justify="right")
    found = [one.segments for one in shown]
    names = dict.fromkeys(name for segments in found for name, value in segments.items() if value.value)
    for name in ordered(names):
        cells = [segments.get(name) for segments in found]
        table.add_row(segment_name(name), *(_microseconds(cell) for cell in cells))
    table.add_section()
    table.add_row("all", *(_microseconds(one.total) for one in shown))
    table.add_row("requests per second", *(f"{one.rate.value:,.0f}" for one in shown))
    table.add_row("rate with sampling / without", *(ratio(one.slowed) for one in shown))
    table.add_row("CPU per request, likewise", *(ratio(one.cost) for one in shown))
    return table


def segment_name(segment: Segment) -> str:
    """Return what tables call a segment."""
    component, part = segment
    if not part:
        return LABELS.get(component, component)
    where = {GENERATOR: "client", NODE: "node"}[component]
    return f"{where}: {PARTS[part]}"


def places(profile: Profile, count: int) -> list[str]:
    """Return the places in the code that take most of a request, component by component."""
    lines = []
    for component in profile.places:
        seen = sum(profile.places[component].values())
        name = segment_name((component, "")).lower()
        lines.append(f"{MIDDLEWARES[profile.middleware].label}, {name}: us per request, of {seen} samples")
        lines += [f"  {spent:6.1f}  {place}" for place, spent in profile.dearest(component, count)]
    return lines


def profile_caveats(profile: Profile) -> list[str]:
    """Return why *profile* is to be read with care."""
    label = MIDDLEWARES[profile.middleware].label
    if profile.missing:
        return [f"Skipped {label}: {profile.missing}."]
    said = []
    slowed = profile.slowed
    if slowed.value < SLOWED and (slowed.high or 0.0) < 1:
        said.append(f"{label}: sampling slowed it to {ratio(profile.slowed)} of its rate")
    for objection in dict.fromkeys(profile.objections):
        times, windows = list(profile.objections).count(objection), 2 * len(profile.repetitions)
        said.append(f"{label}: {times} of {windows} windows: {objection}")
    return said


def ratio(estimate: Estimate) -> str:
    """Return a ratio with its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"


def _microseconds(found: Estimate | None) -> str:
    if found is None or not found.value:
        return ""
    if found.low is None or found.high is None:
        return f"{1000 * found.value:,.1f}"
    low = max(0.0, 1000 * found.low)
    return f"{1000 * found.value:,.1f} ({low:,.1f}-{1000 * found.high:,.1f})"
