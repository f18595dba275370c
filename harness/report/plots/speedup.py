"""Speedup and efficiency over nodes, with intervals, the ideal, and what the CPUs allow."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.verdicts import FEWEST_TRIALS, Speedup, speedups
from harness.record.run import Run
from harness.report.faults import variant_name
from harness.report.plots.style import GREY, HEIGHT, LOOKS, WIDTH
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

    return _draw(
        run,
        "speedup (throughput over that of 1 node)",
        lambda value, _: value,
        reference,
        "; dotted: CPU ceiling",
    )


def efficiency(run: Run) -> Figure | None:
    """Speedup per node, in percent."""

    def reference(axes: Axes, found: list[Speedup], most: int) -> None:
        axes.axhline(100, color=GREY, linestyle="--", linewidth=1, label="ideal")

    return _draw(run, "efficiency (speedup per node), %", lambda value, n: 100 * value / n, reference)


def _draw(
    run: Run,
    label: str,
    scaled: Callable[[float, int], float],
    reference: Callable[[Axes, list[Speedup], int], None],
    note: str = "",
) -> Figure | None:
    found = speedups(run)
    works = sorted({each.work for each in found})
    if not works:
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT))
    panels = figure.subplots(1, len(works), squeeze=False)[0]
    for axes, work in zip(panels, works, strict=True):
        mine = [each for each in found if each.work == work]
        counts = sorted({count for each in mine for count in each.estimates})
        reference(axes, mine, counts[-1])
        for place, each in enumerate(mine):
            _line(axes, each, (place - (len(mine) - 1) / 2) * OFFSET, scaled)
        axes.set_xticks(counts)
        axes.set_xlabel("nodes")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{work} per text", fontsize=10)
    panels[0].set_ylabel(label)
    trials = min(estimate.trials for each in found for estimate in each.estimates.values())
    what = "trials" if trials >= FEWEST_TRIALS else "blocks, indicative"
    load = f"{run.of('speedup')[0].clients} requests in flight"
    figure.suptitle(f"n-node, {load}; {trials} {what}; bars: 95 % intervals{note}", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _line(axes: Axes, found: Speedup, shift: float, scaled: Callable[[float, int], float]) -> None:
    look = LOOKS[found.middleware]
    counts = sorted(found.estimates)
    estimates = [found.estimates[count] for count in counts]
    values = [scaled(estimate.value, count) for estimate, count in zip(estimates, counts, strict=True)]
    errors = [_error(estimate, count, scaled) for estimate, count in zip(estimates, counts, strict=True)]
    axes.errorbar(
        [count + shift for count in counts],
        values,
        yerr=[[low for low, _ in errors], [high for _, high in errors]],
        color=look.colour,
        marker=look.marker,
        mfc=look.face,
        markersize=6,
        capsize=3,
        linewidth=1.2,
        label=variant_name(found.middleware),
    )


def _error(estimate: Estimate, count: int, scaled: Callable[[float, int], float]) -> tuple[float, float]:
    if estimate.low is None or estimate.high is None:
        return 0.0, 0.0
    value = scaled(estimate.value, count)
    return max(0.0, value - scaled(estimate.low, count)), max(0.0, scaled(estimate.high, count) - value)
