"""Where the CPU time of a request goes: by component, and by part of a component."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.analysis.verdicts import best_points, guarantee_of
from harness.record.findings import GENERATOR, PARTS, UNKNOWN, Profile, Segment
from harness.record.run import Run
from harness.report.anatomy import LABELS
from harness.report.faults import variant_name
from harness.report.formatting import nodes
from harness.report.plots.style import GREY, PLAIN, WIDTH
from lab.middleware import MIDDLEWARES

COMPONENTS = {
    "generator": "#999999",
    "node": "#0072B2",
    "master": "#56B4E9",
    "name_server": "#56B4E9",
    "broadcaster": "#CC79A7",
    "redis": "#D55E00",
    "rabbitmq": "#009E73",
}


def cpu_per_request(run: Run) -> Figure | None:
    """CPU milliseconds per request by component, one request in flight per client."""
    points = list(best_points(run, "requests"))[::-1]
    if not any(sum(point.cpu_ms.values()) for point in points):
        return None
    figure = Figure(figsize=(WIDTH, 0.42 * len(points) + 1.6))
    axes = figure.subplots()
    starts = [0.0] * len(points)
    for component, colour in COMPONENTS.items():
        spent = [point.cpu_ms.get(component, 0.0) for point in points]
        if not any(value > 0.002 * max(sum(point.cpu_ms.values()) for point in points) for value in spent):
            continue
        axes.barh(range(len(points)), spent, left=starts, color=colour, label=LABELS[component])
        starts = [start + value for start, value in zip(starts, spent, strict=True)]
    labels = [
        f"{variant_name(point.middleware)}, {nodes(point.nodes)}, {guarantee_of(run, point)}"
        for point in points
    ]
    axes.set_yticks(range(len(points)), labels, fontsize=8)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("CPU milliseconds per request")
    axes.set_title(f"Where the CPU time goes, {points[0].clients} clients in closed loops", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


COLOURS = dict(
    zip(PARTS, ("#BBBBBB", "#56B4E9", "#CC79A7", "#E69F00", "#0072B2", "#009E73", "white"), strict=True)
)
WHOLE = {"redis": "#D55E00", "rabbitmq": "#D55E00"}
"""Components that are known as a whole only; others are grey."""
CLIENT_HATCH, UNKNOWN_HATCH = "///", "xxx"
LEGIBLE_SHARE = 0.06
"""A shorter part of a bar has no number."""


def anatomy_figure(profiles: Sequence[Profile]) -> Figure | None:
    """Microseconds per request above, shares below; None if there is nothing to draw."""
    shown = [one for one in profiles if one.repetitions][::-1]
    if not shown:
        return None
    figure = Figure(figsize=(9.0, 3.0 + 0.9 * len(shown)), layout="constrained")
    times, shares = figure.subplots(2, 1)
    for axes in (times, shares):
        axes.grid(axis="y", visible=False)
        for place, profile in enumerate(shown):
            _bar(axes, place, profile, as_shares=axes is shares)
        axes.set_yticks(range(len(shown)), [_name(one) for one in shown], fontsize=8)
    times.set_xlabel("CPU microseconds per request, all processes; with the interval of the repetitions")
    times.xaxis.set_major_formatter(PLAIN)
    times.set_xlim(0, 1.25 * max(1000 * (one.total.high or one.total.value) for one in shown))
    shares.set_xlabel("share of it, %")
    shares.set_xlim(0, 100)
    figure.legend(handles=_legend(shown), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    repetitions = len(shown[0].repetitions)
    figure.suptitle(
        f"Anatomy of a request: {shown[0].application}, {shown[0].clients} clients in closed loops, "
        f"{repetitions} pair(s) of windows",
        fontsize=10,
    )
    return figure


def _bar(axes: Axes, place: int, profile: Profile, *, as_shares: bool) -> None:
    total = profile.total
    scale = 100 / total.value if as_shares else 1000.0
    start = 0.0
    for segment, estimate in profile.segments.items():
        width = scale * estimate.value
        if not width:
            continue
        hatch = CLIENT_HATCH if segment[0] == GENERATOR else UNKNOWN_HATCH if segment[1] == UNKNOWN else None
        axes.barh(place, width, left=start, color=_colour(segment), hatch=hatch, edgecolor="white", lw=0.4)
        if as_shares and estimate.value > LEGIBLE_SHARE * total.value:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
            said = f"{width:.0f}"
            axes.text(start + width / 2, place, said, ha="center", va="center", fontsize=7, bbox=box)
        start += width
    if as_shares:
        return
    if total.low is not None and total.high is not None:
        error = [[scale * (total.value - total.low)], [scale * (total.high - total.value)]]
        axes.errorbar(start, place, xerr=error, color="black", capsize=3)
    end = scale * (total.high or total.value)
    said = f"{scale * total.value:,.0f} us; {profile.rate.value:,.0f}/s"
    axes.annotate(said, (end, place), (6, 0), textcoords="offset points", va="center", fontsize=8)


def _name(profile: Profile) -> str:
    return f"{MIDDLEWARES[profile.middleware].label},\n{nodes(profile.nodes)}"


def _colour(segment: Segment) -> str:
    component, part = segment
    return COLOURS[part] if part else WHOLE.get(component, GREY)


def _legend(shown: Sequence[Profile]) -> list[Patch]:
    drawn = {segment for one in shown for segment, found in one.segments.items() if found.value}
    parts = [
        Patch(facecolor=COLOURS[part], edgecolor=GREY, lw=0.4, label=name)
        for part, name in PARTS.items()
        if any(segment[1] == part for segment in drawn)
    ]
    wholes = dict.fromkeys(WHOLE.get(component, GREY) for component, part in sorted(drawn) if not part)
    names = {WHOLE["redis"]: "broker", GREY: "other processes"}
    return [
        *parts,
        *(Patch(facecolor=colour, label=names[colour]) for colour in wholes),
        Patch(
            facecolor="white", edgecolor=GREY, hatch=CLIENT_HATCH, label="hatched: in the client's process"
        ),
        Patch(facecolor="white", edgecolor=GREY, label="plain: in the node's"),
    ]
