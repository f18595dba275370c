"""Whether a plan would have been right: the most nodes of a run, predicted from half as many."""

from dataclasses import dataclass

from harness.analysis.planning import FARTHEST, fit_curve, usable
from harness.record.run import Run
from harness.statistics import Estimate, throughput_estimate
from lab.errors import Code, InvalidRequest


@dataclass(frozen=True, slots=True)
class Checked:
    """A prediction for *nodes* from trials with up to *known* nodes, and what was measured there."""

    middleware: str
    work: str
    known: int
    nodes: int
    predicted: Estimate
    measured: Estimate
    is_held: bool
    """The measured throughput lies in the interval of the prediction."""


def check(run: Run) -> list[Checked]:
    """Predict the most nodes of each speedup of *run*; InvalidRequest says why none can be checked."""
    checked: list[Checked] = []
    refusals: list[str] = []
    for middleware, work in dict.fromkeys((p.middleware, p.work) for p in run.of("speedup")):
        points = usable(run, middleware, work, refusals)
        most = max((p.nodes for p in points), default=0)
        near = [p for p in points if p.nodes <= most / FARTHEST]
        there = [p.throughput for p in points if p.nodes == most]
        try:
            curve = fit_curve([p.nodes for p in near], [p.throughput for p in near])
        except InvalidRequest as error:
            refusals.append(f"{middleware}, {work}: {error.message}")
            continue
        predicted, measured = curve.at(most), throughput_estimate(there)
        is_held = (predicted.low or 0.0) <= measured.value <= (predicted.high or 0.0)
        checked.append(Checked(middleware, work, curve.most_nodes, most, predicted, measured, is_held))
    if not checked:
        why = "; ".join(refusals) or "it has no speedup"
        raise InvalidRequest(
            Code.MALFORMED, f"nothing to check: {why}; `lab speedup M --nodes 1,2,3,4,8` measures what is"
        )
    return checked
