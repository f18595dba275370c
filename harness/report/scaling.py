"""Trials of dynamic scaling in words, for progress, tables and the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite, nan
from statistics import fmean
from typing import TYPE_CHECKING

from rich.table import Table

from dynamic.policies.sample import LATE_SHARE, TARGET_SECONDS
from harness.record.run import ScalingTrial
from harness.statistics import FEWEST_TRIALS, Estimate, mean_estimate, paired

if TYPE_CHECKING:
    from harness.record.run import Run

LATE_POINTS = 1.0
"""By how many percentage points of late events simulator and system may differ."""
COST_PERCENT = 10.0
"""By how much of the worker-seconds they may."""
MOST_LATE = 100 * LATE_SHARE
"""Percent of the events: with more, a policy counts as late."""
FIGURES: Mapping[str, tuple[Callable[[ScalingTrial], float | None], str]] = {
    "late, %": (lambda one: one.scores.late_percent, ".2f"),
    "late, %, simulated": (lambda one: one.simulated.late_percent, ".2f"),
    "cost over the optimum's": (lambda one: one.scores.over_optimum, ".2f"),
    "worker-seconds": (lambda one: one.scores.worker_seconds, ",.0f"),
    "worker-seconds, simulated": (lambda one: one.simulated.worker_seconds, ",.0f"),
    "missing worker-seconds": (lambda one: one.scores.under_area, ",.0f"),
    "spare worker-seconds": (lambda one: one.scores.over_area, ",.0f"),
    "starts": (lambda one: one.scores.starts, ".0f"),
    "start of a worker, s (median)": (lambda one: one.start_seconds, ".2f"),
    "actions": (lambda one: one.scores.actions, ".0f"),
    "reversals within 10 s": (lambda one: one.scores.reversals, ".0f"),
    "p99, s": (lambda one: one.scores.p99_seconds, ".2f"),
    "reaction, s": (lambda one: one.scores.reaction_seconds, ".2f"),
    "settling, s": (lambda one: one.scores.settling_seconds, ".2f"),
    "events lost": (lambda one: one.lost, ".0f"),
    "events worked on again": (lambda one: one.repeated, ".0f"),
}
"""What tables show: heading, value and format."""


def describe_scaling(trial: ScalingTrial) -> str:
    """Return a line about *trial*."""
    scores = trial.scores
    cost = "" if scores.over_optimum is None else f", {scores.over_optimum:.2f} x the optimum's cost"
    calm = f"{scores.actions} actions, {scores.reversals} reversals, lost {trial.lost}"
    parts = [
        f"{trial.policy} on {trial.profile}: {scores.late_percent:.2f} % late{cost}, {calm}",
        simulated_words([trial]),
    ]
    parts += [f"{trial.repeated} events worked on again"] if trial.repeated else []
    parts += [f"INVALID: {'; '.join(trial.objections)}"] if trial.objections else []
    return "; ".join(parts)


def is_simulated_well(trials: Sequence[ScalingTrial]) -> bool:
    """Tell whether the simulator agrees with *trials* of one policy, on average, as it promises."""
    late = fmean(trial.late_difference for trial in trials)
    cost = fmean(trial.cost_difference_percent for trial in trials)
    return abs(late) <= LATE_POINTS and abs(cost) <= COST_PERCENT


def simulated_words(trials: Sequence[ScalingTrial]) -> str:
    """Say what the simulator expected of *trials* of one policy, and whether that was right."""
    if is_simulated_well(trials):
        return "the simulator agrees"
    measured, expected = (
        f"{mean(trials, f'worker-seconds{which}'):,.0f} worker-seconds and "
        f"{mean(trials, f'late, %{which}'):.2f} % late events"
        for which in ("", ", simulated")
    )
    return (
        f"the simulator was wrong: it expected {expected}, and {measured} were measured (right: within "
        f"{COST_PERCENT:g} % and {LATE_POINTS:g} percentage point)"
    )


def scaling_figures(trial: ScalingTrial) -> str:
    """Return the shortest account of *trial*."""
    return f"{trial.policy}: {trial.scores.late_percent:.2f} % late"


def scalings_by_profile(run: "Run") -> dict[str, dict[str, list[ScalingTrial]]]:
    """Return the trials of *run*, by load profile and policy."""
    found: dict[str, dict[str, list[ScalingTrial]]] = {}
    for trial in sorted(run.scalings, key=lambda trial: trial.trial):
        found.setdefault(trial.profile, {}).setdefault(trial.policy, []).append(trial)
    return found


def estimate(trials: Sequence[ScalingTrial], name: str) -> Estimate:
    """Return the mean of a figure of FIGURES, and its interval; NaN where a trial has none."""
    value, _ = FIGURES[name]
    values = [nan if (one := value(trial)) is None else one for trial in trials]
    if not all(map(isfinite, values)):
        return Estimate(nan, None, None, len(values))
    found = mean_estimate(values)
    return replace(found, low=max(0.0, found.low)) if found.low is not None else found


def mean(trials: Sequence[ScalingTrial], name: str) -> float:
    """Return the mean of a figure of FIGURES; NaN where a trial has none."""
    return estimate(trials, name).value


def figure_words(trials: Sequence[ScalingTrial], name: str) -> str:
    """Return the mean of a figure of FIGURES, with its interval if the trials are enough for one."""
    found, form = estimate(trials, name), FIGURES[name][1]
    if not isfinite(found.value):
        return "-"
    said = format(found.value, form)
    if found.low is None or found.high is None or found.low == found.high:
        return said
    return f"{said} ({format(found.low, form)} to {format(found.high, form)})"


def scaled(run: "Run") -> list[str]:
    """Return a conclusion for each load profile: which policies were late, and which was the cheapest."""
    found = []
    for profile, policies in scalings_by_profile(run).items():
        valid = {
            policy: kept
            for policy, trials in policies.items()
            if (kept := [trial for trial in trials if not trial.objections])
        }
        if valid:
            trials = max(map(len, valid.values()))
            said = f" ({trials} trials)" if trials > 1 else ""
            found.append(
                f"Dynamic scaling, {profile}{said}: {_who_was_late(valid)} {_who_was_cheapest(valid)}"
            )
    return found


def _is_late(trials: Sequence[ScalingTrial]) -> bool:
    return mean(trials, "late, %") > MOST_LATE


def _who_was_late(policies: Mapping[str, Sequence[ScalingTrial]]) -> str:
    late = [
        f"{policy} ({mean(trials, 'late, %'):.2f} %)"
        for policy, trials in policies.items()
        if _is_late(trials)
    ]
    what = f"more than {MOST_LATE:g} % of the events late (later than {TARGET_SECONDS:g} s)"
    return f"{_listed(late)} had {what}." if late else f"No policy had {what}."


def _who_was_cheapest(policies: Mapping[str, Sequence[ScalingTrial]]) -> str:
    """Rank the policies that were not late by cost; all, if all were late."""
    judged = {policy: trials for policy, trials in policies.items() if not _is_late(trials)} or policies
    name = "cost over the optimum's"
    ranked = sorted(judged, key=lambda policy: mean(judged[policy], name))
    first, *others = ranked
    of = "Of the others" if 0 < len(judged) < len(policies) else "Of all"
    said = f"{of}, {first} cost least: {mean(judged[first], name):.2f} times the optimum"
    then = [
        f"{policy} {mean(judged[policy], name):.2f}{_doubt(judged[first], judged[policy])}"
        for policy in others
    ]
    return f"{said}; then {_listed(then)}." if then else f"{said}."


def _doubt(cheaper: Sequence[ScalingTrial], dearer: Sequence[ScalingTrial]) -> str:
    """Say so if the trials are enough to compare the costs of two policies, and show no difference."""
    pairs = [(a.scores.cost, b.scores.cost) for a in cheaper for b in dearer if a.trial == b.trial]
    if len(pairs) < FEWEST_TRIALS:
        return ""
    ratio = paired([b for _, b in pairs], [a for a, _ in pairs]).ratio
    return " (the difference may be chance)" if (ratio.low or 0.0) <= 1.0 else ""


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def scaling_caveats(run: "Run") -> list[str]:
    """Return what must be known before a score of *run* is used."""
    found = [
        f"Dynamic scaling, {one.policy} on {one.profile}, trial {one.trial}: invalid, "
        f"{'; '.join(one.objections)}."
        for one in run.scalings
        if one.objections
    ]
    found += [
        f"Dynamic scaling, {policy} on {profile}: {simulated_words(trials)}. Often the reason is a busy "
        "machine, which starts workers late and unevenly."
        for profile, policies in scalings_by_profile(run).items()
        for policy, trials in policies.items()
        if not is_simulated_well(trials)
    ]
    if run.scalings:
        if max(one.trial for one in run.scalings) < FEWEST_TRIALS:
            found.append(
                "Dynamic scaling has too few trials for an interval: small differences may be chance."
            )
        found.append("One spare worker, connected and idle, is not counted as cost of dynamic scaling.")
    return found


def scaling_rows(policies: Mapping[str, Sequence[ScalingTrial]]) -> dict[str, list[str]]:
    """Return the figures of trials of one load profile by heading, a cell for each policy."""
    return {name: [figure_words(trials, name) for trials in policies.values()] for name in FIGURES}


def scaling_title(policies: Mapping[str, Sequence[ScalingTrial]]) -> str:
    """Return the load of trials, and how many there are."""
    trials = next(iter(policies.values()))
    first, number = trials[0], len(trials)
    how_often = f"means of {number} trials, with 95 % intervals" if number >= FEWEST_TRIALS else "one trial"
    how_often = "means of 2 trials" if number == FEWEST_TRIALS - 1 else how_often
    return f"{first.profile} ({first.description}), {first.work} per event; {how_often}"


def scaling_table(policies: Mapping[str, Sequence[ScalingTrial]]) -> Table:
    """Return the figures of trials of one load profile, a column per policy."""
    table = Table(title=f"Dynamic scaling, {scaling_title(policies)}", title_justify="left")
    table.add_column("")
    for policy in policies:
        table.add_column(policy, justify="right")
    for heading, cells in scaling_rows(policies).items():
        table.add_row(heading, *cells)
    return table
