"""Dynamic scaling as it is scored: what was observed and what was simulated are measured by the same rule."""

import dataclasses

import numpy as np
import pytest

from harness.experiment.scaling import start_alone
from harness.experiment.scaling_system import Observed
from harness.report.conclusions import caveats, conclusions
from harness.report.scaling import describe_scaling, scaled, scaling_caveats
from tests.harness.runs import LOAD, observed_trial, run_of

POLICIES = ("adaptive", "assignment", "reference", "static:workers=4")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_system_that_does_what_the_simulator_says_gets_its_scores(policy: str) -> None:
    trial = observed_trial(policy)
    assert trial.is_simulated_well
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
    assert trial.is_simulated_well
    assert not worse.is_simulated_well
    assert "DISAGREES" in describe_scaling(worse)
    assert any("DISAGREES" in sentence for sentence in caveats(run_of(scalings=[worse])))
    assert not any("DISAGREES" in sentence for sentence in scaling_caveats(run_of(scalings=[trial])))


def test_a_load_that_was_sent_late_supports_no_conclusion() -> None:
    sent = [10**12 + 10**9 * 60] * observed_trial("static").scores.events
    trial = observed_trial("static", sent_ns=sent)
    assert "was not sent as planned" in trial.objections[0]
    run = run_of(scalings=[trial])
    assert scaled(run) == []
    assert any("invalid" in sentence for sentence in scaling_caveats(run))


def test_the_conclusion_names_the_policy_with_the_fewest_late_events_first() -> None:
    trials = [observed_trial(policy) for policy in ("static:workers=2", "reference")]
    late = [trial.scores.late_percent for trial in trials]
    assert np.diff(late)[0] < 0
    sentence = next(one for one in conclusions(run_of(scalings=trials)) if "Dynamic scaling" in one)
    assert sentence.index("reference 0") < sentence.index("static")


def test_a_start_alone_is_told_from_the_median_of_those_in_turn() -> None:
    seen = Observed(0, start_seconds=0.4)
    assert start_alone(seen, 0) == 0.4
    seen.readings = [{"decision": {"wanted": wanted}} for wanted in (1, 8, 3)]
    assert start_alone(seen, 1) == pytest.approx(0.4 / 3.5)  # of 1, and of 1 to 7
    assert start_alone(Observed(0), 1) is None
