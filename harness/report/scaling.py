"""Trials of dynamic scaling in words, for progress, tables and the report."""

from typing import TYPE_CHECKING

from rich.table import Table

from dynamic.policies.sample import TARGET_SECONDS
from dynamic.simulator.benchmark import score_table
from harness.record.run import COST_PERCENT, LATE_POINTS, ScalingTrial

if TYPE_CHECKING:
    from harness.record.run import Run


def describe_scaling(trial: ScalingTrial) -> str:
    """Return a line about *trial*."""
    scores = trial.scores
    cost = "" if scores.over_optimum is None else f", {scores.over_optimum:.2f} x the optimum's cost"
    calm = f"{scores.actions} actions, {scores.reversals} reversals, lost {trial.lost}"
    parts = [
        f"{trial.policy} on {trial.profile}: {scores.late_percent:.2f} % late{cost}, {calm}",
        simulated_words(trial),
    ]
    parts += [f"{trial.repeated} events worked on again"] if trial.repeated else []
    parts += [f"INVALID: {'; '.join(trial.objections)}"] if trial.objections else []
    return "; ".join(parts)


def simulated_words(trial: ScalingTrial) -> str:
    """Say how well the simulator foretold *trial*, and whether that is within what is promised."""
    verdict = "agrees" if trial.is_simulated_well else "DISAGREES"
    return (
        f"the simulator {verdict}: late {trial.late_difference:+.2f} points (promised {LATE_POINTS:g}), "
        f"worker-seconds {trial.cost_difference_percent:+.1f} % (promised {COST_PERCENT:g} %)"
    )


def scaling_figures(trial: ScalingTrial) -> str:
    """Return the shortest account of *trial*."""
    return f"{trial.policy}: {trial.scores.late_percent:.2f} % late"


def scalings_by_profile(run: "Run") -> dict[str, list[ScalingTrial]]:
    """Return the trials of *run*, those of one load profile together."""
    found: dict[str, list[ScalingTrial]] = {}
    for trial in run.scalings:
        found.setdefault(trial.profile, []).append(trial)
    return found


def scaled(run: "Run") -> list[str]:
    """Return a conclusion for each load profile: which policy kept events in time, and at what cost."""
    found = []
    for profile, trials in scalings_by_profile(run).items():
        valid = [trial for trial in trials if not trial.objections]
        parts = [
            f"{trial.policy} {trial.scores.late_percent:.2f} % late at {trial.scores.over_optimum or 0:.2f} x"
            for trial in sorted(
                valid, key=lambda trial: (trial.scores.late_percent, trial.scores.over_optimum or 0)
            )
        ]
        if parts:
            found.append(
                f"Dynamic scaling, {profile} (share of events later than {TARGET_SECONDS:g} s, and "
                f"cost over the optimum's): {'; '.join(parts)}."
            )
    return found


def scaling_caveats(run: "Run") -> list[str]:
    """Return what must be known before a score of *run* is used."""
    found = [f"{_name(one)}: invalid, {'; '.join(one.objections)}." for one in run.scalings if one.objections]
    found += [
        f"{_name(one)}: {simulated_words(one)}; a busy machine starts workers late and unevenly."
        for one in run.scalings
        if not one.is_simulated_well
    ]
    if run.scalings:
        found.append(
            "Dynamic scaling is of one trial per policy; one warm spare worker is not counted as cost."
        )
    return found


def _name(trial: ScalingTrial) -> str:
    return f"Dynamic scaling, {trial.policy} on {trial.profile}"


def scaling_table(trials: list[ScalingTrial]) -> Table:
    """Return the scores of *trials*, all of one profile, a column per policy."""
    first = trials[0]
    title = f"Dynamic scaling, {first.profile} ({first.description}), {first.work} per event; one trial"
    table = score_table(title, [(trial.policy, trial.scores) for trial in trials])
    simulated = [
        f"{trial.simulated.late_percent:.2f} / {trial.simulated.worker_seconds:,.0f}" for trial in trials
    ]
    table.add_row("simulated: late, % / worker-seconds", *simulated)
    return table
