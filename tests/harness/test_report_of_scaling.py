"""Dynamic scaling: the scores of a trial, what is said of several, their plots, the loads of the table."""

import dataclasses
import re

import pytest

from harness.experiment.scaling import TABLE_POLICIES, start_alone, table_steps
from harness.experiment.scaling_system import Observed
from harness.record.run import ScalingTrial
from harness.report.conclusions import caveats, conclusions
from harness.report.plots.scaling import scaling
from harness.report.scaling import (
    describe_scaling,
    figure_words,
    is_simulated_well,
    scaled,
    scaling_caveats,
    scaling_title,
)
from lab.load.profiles import step
from tests.harness.runs import LOAD, observed_trial, run_of, scaling_trials

POLICIES = ("adaptive", "assignment", "reference", "static:workers=4")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_system_that_does_what_the_simulator_says_gets_its_scores(policy: str) -> None:
    trial = observed_trial(policy)
    assert is_simulated_well([trial])
    assert trial.late_difference == pytest.approx(0, abs=0.01)
    assert trial.cost_difference_percent == pytest.approx(0, abs=1)
    real, simulated = dataclasses.asdict(trial.scores), dataclasses.asdict(trial.simulated)
    for name in ("events", "actions", "reversals", "lost"):
        assert real[name] == simulated[name], name


def test_events_are_counted_in_the_second_of_their_plan_and_of_their_answer() -> None:
    trial = observed_trial("static:workers=20")
    assert sum(value or 0 for value in trial.offered.values) == trial.scores.events
    assert trial.offered.values[0] == pytest.approx(LOAD.rates[0], rel=0.7)
    assert sum(value or 0 for value in trial.measured.values) <= trial.scores.events


def test_a_confirmed_event_without_an_answer_is_lost_and_late() -> None:
    whole = observed_trial("static:workers=20")
    answers = dict.fromkeys(range(whole.confirmed - 7), 10**12 + 10**9 * 30)
    trial = observed_trial("static:workers=20", done_ns=answers, confirmed=whole.confirmed)
    assert (whole.lost, trial.lost, trial.scores.lost) == (0, 7, 7)
    assert trial.scores.late_percent > whole.scores.late_percent
    assert "lost 7" in describe_scaling(trial)


def test_a_simulator_that_is_off_is_said() -> None:
    trial = observed_trial("static:workers=4")
    worse = dataclasses.replace(
        trial,
        simulated=dataclasses.replace(trial.simulated, worker_seconds=1.11 * trial.scores.worker_seconds),
    )
    assert is_simulated_well([trial])
    assert not is_simulated_well([worse])
    assert "the simulator was wrong" in describe_scaling(worse)
    assert any("the simulator was wrong" in sentence for sentence in caveats(run_of(scalings=[worse])))
    assert not any("was wrong" in sentence for sentence in scaling_caveats(run_of(scalings=[trial])))


def test_a_load_that_was_sent_late_supports_no_conclusion() -> None:
    sent = [10**12 + 10**9 * 60] * observed_trial("static").scores.events
    trial = observed_trial("static", sent_ns=sent)
    assert "was not sent as planned" in trial.objections[0]
    run = run_of(scalings=[trial])
    assert scaled(run) == []
    assert any("invalid" in sentence for sentence in scaling_caveats(run))


def test_the_conclusion_says_who_was_late_and_who_of_the_others_cost_least() -> None:
    policies = ("static:workers=2", "static:workers=20", "reference")
    trials = [observed_trial(policy) for policy in policies]
    assert trials[0].scores.late_percent > 1
    sentence = next(one for one in conclusions(run_of(scalings=trials)) if "Dynamic scaling" in one)
    assert re.search(r": static:workers=2 \([\d.]+ %\) had more than 0.1 % of the events late", sentence)
    assert "Of the others, reference cost least" in sentence
    assert sentence.index("reference") < sentence.index("static:workers=20")
    assert "No policy had more than" in scaled(run_of(scalings=trials[1:]))[0]


def test_trials_of_one_policy_are_told_by_their_mean_and_interval() -> None:
    trials = [trial_costing(cost, number) for number, cost in enumerate((1.2, 1.3, 1.4), start=1)]
    assert figure_words(trials, "cost over the optimum's") == "1.30 (1.05 to 1.55)"
    assert figure_words(trials[:1], "cost over the optimum's") == "1.20"
    assert figure_words(trials, "settling, s") == "-"  # not in all of them
    assert "means of 3 trials, with 95 % intervals" in scaling_title({"rate": trials})
    assert "(3 trials)" in scaled(run_of(scalings=trials))[0]


@pytest.mark.parametrize(("dearer", "may_be_chance"), [((1.3, 1.2, 1.4), True), ((1.8, 1.9, 1.8), False)])
def test_a_difference_of_cost_that_trials_do_not_show_is_said_to_be_chance(
    dearer: tuple[float, ...], may_be_chance: bool
) -> None:
    trials = [trial_costing(cost, number) for number, cost in enumerate((1.25, 1.25, 1.25))]
    others = [
        dataclasses.replace(trial_costing(cost, number), policy="hpa") for number, cost in enumerate(dearer)
    ]
    assert ("may be chance" in scaled(run_of(scalings=[*trials, *others]))[0]) == may_be_chance


def trial_costing(cost: float, number: int) -> ScalingTrial:
    """Return a trial of that cost over the optimum, in which the policy was never late."""
    trial = observed_trial("reference")
    scores = dataclasses.replace(
        trial.scores, late_percent=0.0, cost=100 * cost, over_optimum=cost, settling_seconds=None
    )
    return dataclasses.replace(trial, policy="rate", trial=number, scores=scores)


def test_a_plot_of_late_events_begins_at_zero_and_has_a_legend_of_what_it_shows() -> None:
    one = scaling(run_of(scalings=scaling_trials()))["frontier"]
    assert one.axes[0].get_ylim()[0] == 0
    assert [text.get_text() for text in one.legends[0].get_texts()] == ["adaptive", "assignment"]
    two = [*scaling_trials(), dataclasses.replace(observed_trial("adaptive"), profile="other")]
    texts = [text.get_text() for text in scaling(run_of(scalings=two))["frontier"].legends[0].get_texts()]
    assert texts == ["adaptive", "assignment", "step", "other"]


def test_a_start_alone_is_told_from_the_median_of_those_in_turn() -> None:
    seen = Observed(0, start_seconds=0.4)
    assert start_alone(seen, 0) == 0.4
    seen.readings = [{"decision": {"wanted": wanted}} for wanted in (1, 8, 3)]
    assert start_alone(seen, 1) == pytest.approx(0.4 / 3.5)  # of 1, and of 1 to 7
    assert start_alone(Observed(0), 1) is None


def test_the_table_of_five_trials_has_a_step_a_spike_noise_a_drift_and_a_trace_in_twenty_minutes() -> None:
    steps = table_steps(None, trials=5, seed=1)
    assert [re.sub(r" .*", "", one.what.removeprefix("dynamic scaling: ")) for one in steps] == [
        "step",
        "spike",
        "noisy",
        "drift",
        "jumps",
    ]
    assert all(one.what.endswith(", ".join(TABLE_POLICIES)) for one in steps)
    assert sum(one.seconds for one in steps) < 20 * 60


def test_a_trace_of_ones_own_stands_for_the_real_load_of_the_table() -> None:
    trace = dataclasses.replace(step(200.0, 800.0, at=10.0), name="trace")
    assert "dynamic scaling: trace" in table_steps(trace, trials=1, seed=1)[-1].what
