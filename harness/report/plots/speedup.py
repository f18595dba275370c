"""Speedup over nodes, what the CPUs allow, and the efficiency against the declared work."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.verdicts import Speedup, speedups
from harness.record.run import Run
from harness.report.faults import variant_name
from harness.report.formatting import spread
from harness.report.plots.style import GREY, HEIGHT, LOOKS, WIDTH, legend
from harness.statistics import Estimate

OFFSET = 0.03
"""Between the markers of two middlewares, in nodes, so that they do not hide each other."""


def speedup(run: Run) -> Figure | None:
    """Throughput at each number of nodes as a multiple of that at one."""

    def reference(axes: Axes, found: list[Speedup], most: int) -> None:
        axes.plot([1, most], [1, most], color=GREY, linestyle="--", linewidth=1, label="ideal")
        for each in found:
            counts = sorted(each.ceilings)
            ceilings = [each.ceilings[count] for count in counts]
            if any(ceiling < count for count, ceiling in zip(counts, ceilings, strict=True)):
                axes.plot(counts, ceilings, ":", color=LOOKS[each.middleware].colour, linewidth=1)
                axes.plot([], [], ":", color=GREY, linewidth=1, label="most that the CPU allows")

    def drawn(found: Speedup) -> dict[int, Estimate]:
        return found.estimates

    return _draw(run, "speedup (throughput over that of 1 node)", drawn, reference)


def efficiency(run: Run) -> Figure | None:
    """Throughput over what so many nodes would make if they did nothing but the declared work, in percent."""

    def reference(axes: Axes, found: list[Speedup], most: int) -> None:
        ideal = f"ideal: n x {found[0].ideal:,.4g}/s"
        axes.axhline(100, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            ideal, (0.98, 100), (0, -11), ("axes fraction", "data"), "offset points", ha="right", fontsize=8
        )

    def drawn(found: Speedup) -> dict[int, Estimate]:
        return {nodes: found.share_of_ideal(nodes, 100) for nodes in found.rates}

    return _draw(run, "throughput over n nodes' ideal, %", drawn, reference)


def _draw(
    run: Run,
    label: str,
    drawn: Callable[[Speedup], dict[int, Estimate]],
    reference: Callable[[Axes, list[Speedup], int], None],
) -> Figure | None:
    found = speedups(run)
    works = sorted({each.work for each in found})
    if not works:
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT))
    panels = figure.subplots(1, len(works), squeeze=False)[0]
    for axes, work in zip(panels, works, strict=True):
        mine = [each for each in found if each.work == work]
        counts = sorted({count for each in mine for count in drawn(each)})
        reference(axes, mine, counts[-1])
        for place, each in enumerate(mine):
            _line(axes, each.middleware, drawn(each), (place - (len(mine) - 1) / 2) * OFFSET)
        axes.set_xticks(counts)
        axes.set_xlabel("nodes")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{work} per text", fontsize=10)
    panels[0].set_ylabel(label)
    first = run.of("speedup")[0]
    said = [f"n-node, {first.clients * first.in_flight} requests in flight", *spread(found)]
    figure.suptitle("; ".join(said), fontsize=10)
    legend(figure)
    return figure


def _line(axes: Axes, middleware: str, found: dict[int, Estimate], shift: float) -> None:
    look = LOOKS[middleware]
    counts = sorted(found)
    estimates = [found[count] for count in counts]
    errors = [_error(estimate) for estimate in estimates]
    axes.errorbar(
        [count + shift for count in counts],
        [estimate.value for estimate in estimates],
        yerr=[[low for low, _ in errors], [high for _, high in errors]],
        color=look.colour,
        marker=look.marker,
        mfc=look.face,
        markersize=6,
        capsize=3,
        linewidth=1.2,
        label=variant_name(middleware),
    )


def _error(estimate: Estimate) -> tuple[float, float]:
    if estimate.low is None or estimate.high is None:
        return 0.0, 0.0
    return max(0.0, estimate.value - estimate.low), max(0.0, estimate.high - estimate.value)
