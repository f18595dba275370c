"""The simulator: known queues, nothing lost, the same seed the same result; its command; the optimum."""

import json
import math
import time
from functools import cache
from itertools import product

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from dynamic.calibration import scaled_object
from dynamic.policies import chosen
from dynamic.simulator import figures
from dynamic.simulator.__main__ import main
from dynamic.simulator.benchmark import (
    FAMILIES,
    SIMULATED,
    Scores,
    Steps,
    provisioning,
    reaction_and_settling,
    reversals,
)
from dynamic.simulator.optimum import achievable, allowed_late, lower_bound, scheduled, started
from dynamic.simulator.queueing import Queue, Times
from dynamic.simulator.simulation import Run, Setting, simulate
from lab.bootstrap import ROOT
from lab.errors import InvalidRequest
from lab.load.profiles import Profile, from_trace, spike, steady, step

REAL_TRACE = ROOT.parent / "shared" / "traces" / "elb_requests_5min.csv"


@cache
def run(policy: str, profile: str, declared_rate: float = 10.0, seed: int = 1, phase: float = 0.0) -> Run:
    """Simulate *policy* as the design says: work 100 ms, at most 50 workers."""
    drift_at = 60.0 if profile == "drift" else None
    setting = Setting(
        SIMULATED[profile](seed),
        drift_at=drift_at,
        declared_rate=declared_rate,
        seed=seed,
        phase_seconds=phase,
    )
    return simulate(chosen(policy), setting)


def scores(policy: str, profile: str, declared_rate: float = 10.0) -> Scores:
    return run(policy, profile, declared_rate).scores()


def mean_wait(spread: str, workers: int, load: float) -> float:
    """Return the mean waiting time of 400,000 events whose work takes 1 s on average."""
    rate = load * workers
    gaps = np.random.default_rng(7).exponential(1 / rate, 400_000)
    arrivals, work = gaps.cumsum(), Times(1.0, spread)
    queue = Queue(arrivals, work, 3)
    for _ in range(workers):
        queue.add(0.0)
    queue.serve(math.inf)
    return float((queue.finished - arrivals).mean()) - queue.work_seconds / len(arrivals)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_random_work_waits_as_the_theory_of_one_worker_says(load: float) -> None:
    assert mean_wait("exponential", 1, load) == pytest.approx(load / (1 - load), rel=0.06)  # M/M/1


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_work_of_one_length_waits_half_as_long(load: float) -> None:
    assert mean_wait("constant", 1, load) == pytest.approx(load / (1 - load) / 2, rel=0.06)  # M/D/1


def test_random_work_waits_as_erlang_says_with_five_workers() -> None:
    assert mean_wait("exponential", 5, 0.8) == pytest.approx(0.5541, rel=0.06)  # M/M/5: C(5, 4) / (5 - 4)


@pytest.mark.parametrize("spread", ["constant", "exponential", "lognormal"])
def test_times_have_the_mean_they_say(spread: str) -> None:
    drawn = Times(0.3, spread).draw(np.random.default_rng(1), 200_000)
    assert drawn.mean() == pytest.approx(0.3, rel=0.02)


def test_workers_that_start_in_turn_begin_one_after_another() -> None:
    drawn = Times(0.3, "in turn").draw(np.random.default_rng(1), 3)
    assert drawn == pytest.approx([0.3, 0.6, 0.9])


def test_a_worker_takes_nothing_before_it_is_ready_and_drains_when_retired() -> None:
    queue = Queue(np.array([0.0, 0.1, 0.2]), Times(1.0), 1)
    queue.add(0.5)
    queue.serve(1.0)
    assert (queue.taken, queue.finished[0]) == (1, 1.5)
    assert queue.retire(1, 1.0) == [1.5]
    queue.serve(9.0)
    assert queue.taken == 1


def test_busy_workers_share_processors() -> None:
    queue = Queue(np.zeros(400), Times(0.1), 1)
    for _ in range(8):
        queue.add(0.0)
    queue.serve(math.inf, cores=2)
    assert queue.finished.max() == pytest.approx(20, rel=0.05)  # 400 x 0.1 s on 2


@pytest.mark.parametrize("profile", [name for name in SIMULATED if name != "bursts"])
@pytest.mark.parametrize("policy", ["adaptive", "assignment", "static:workers=3"])
def test_every_arrival_is_finished_or_waits(profile: str, policy: str) -> None:
    found = run(policy, profile)
    done = sum(sample.completions for sample in found.samples)
    last = found.samples[-1]
    assert done + last.backlog == sum(sample.arrivals or 0 for sample in found.samples)
    assert sum(sample.arrivals or 0 for sample in found.samples) == len(found.arrivals)
    assert found.scores().lost == 0


def test_readings_are_true() -> None:
    found = run("adaptive", "noisy")
    for sample in found.samples:
        now = sample.time
        assert sample.backlog == int(((found.arrivals < now) & (found.finished > now)).sum())
        assert sample.busy_seconds <= 60 * sample.interval_seconds
    worked = sum(sample.busy_seconds for sample in found.samples)
    assert worked == pytest.approx(0.1 * len(found.arrivals), abs=0.1 * found.samples[-1].backlog + 1e-6)


@pytest.mark.parametrize("policy", ["adaptive", "hpa"])
def test_the_same_seed_gives_the_same_run_and_another_seed_another_one(policy: str) -> None:
    setting = Setting(spike(), work=Times(0.02, "lognormal"), start=Times(0.1, "exponential"))
    first, second = simulate(chosen(policy), setting), simulate(chosen(policy), setting)
    assert first.wanted == second.wanted
    assert np.array_equal(first.finished, second.finished)
    other = simulate(chosen(policy), Setting(spike(), work=Times(0.02), seed=2))
    assert len(other.arrivals) != len(first.arrivals)


def test_nobody_works_without_workers() -> None:
    found = simulate(chosen("static"), Setting(steady(5, 10), min_workers=0, start=Times(1e5)))
    assert found.scores().late_percent == 100
    assert found.scores().lost == 0


def test_the_bounds_are_kept() -> None:
    setting = Setting(step(20, 150), min_workers=2, max_workers=7)
    found = simulate(chosen("adaptive"), setting)
    assert set(found.wanted) <= set(range(2, 8))
    assert all(sample.workers <= 7 for sample in found.samples)


def test_areas_are_between_supply_and_need() -> None:
    supply = Steps(np.array([0.0, 4.0]), np.array([1.0, 5.0]))
    need = Steps(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    assert provisioning(supply, need, 10) == (4, 20, 12, 60)
    assert supply.area(10) == 34


def test_reaction_ends_when_enough_are_ready_and_settling_when_they_stay_near() -> None:
    supply = Steps(np.array([0.0, 12.0, 14.0, 20.0]), np.array([3.0, 40.0, 20.0, 17.0]))
    need = Steps(np.array([0.0, 10.0]), np.array([3.0, 16.0]))
    assert reaction_and_settling(supply, need, 30) == (2, 4)


def test_reversals_are_actions_against_the_one_before_within_ten_seconds() -> None:
    assert reversals([(0, 1), (10, -1), (12, -2), (22.1, 1), (24, -1)]) == 2


def test_a_step_is_followed_within_one_decision() -> None:
    found = scores("adaptive", "step")
    assert found.late_percent <= 0.5
    assert found.reaction_seconds is not None
    assert found.reaction_seconds <= 2.5


def test_a_spike_makes_few_events_late() -> None:
    assert scores("adaptive", "spike").late_percent <= 2


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.4, 1.0, 1.5, 1.9])
def test_a_step_between_two_readings_is_followed_as_fast(phase: float) -> None:
    reaction = run("adaptive", "step", phase=phase).scores().reaction_seconds
    assert reaction is not None
    assert reaction <= 2.5


def test_readings_come_a_phase_later() -> None:
    found = run("adaptive", "step", phase=0.7)
    assert [sample.time for sample in found.samples[:3]] == pytest.approx([0.7, 2.7, 4.7])
    assert found.samples[0].interval_seconds == pytest.approx(0.7)


def test_noise_causes_at_most_two_thirds_of_the_actions_of_the_assignment() -> None:
    assert scores("adaptive", "noisy").actions <= scores("assignment", "noisy").actions * 2 / 3


def test_slower_workers_are_noticed_without_a_setting() -> None:
    assert scores("adaptive", "drift").late_percent <= 0.5


@pytest.mark.parametrize("wrong", [7.0, 13.0])
@pytest.mark.parametrize("profile", ["step", "spike", "noisy", "drift"])
def test_a_wrong_calibration_hardly_matters(profile: str, wrong: float) -> None:
    right, found = scores("adaptive", profile), scores("adaptive", profile, wrong)
    assert abs(found.late_percent - right.late_percent) <= 0.1
    assert found.worker_seconds == pytest.approx(right.worker_seconds, rel=0.05)


def test_workers_that_compute_on_two_cores_settle_at_one_more() -> None:
    found = simulate(chosen("adaptive"), Setting(steady(60), cores=2))
    assert max(found.wanted[30:60]) <= 3
    assert found.samples[59].backlog > found.samples[40].backlog
    assert "have not helped on 2 cores" in found.reasons[59]


def test_two_weeks_are_simulated_in_seconds() -> None:
    if not REAL_TRACE.exists():
        pytest.skip("the shared trace is not here")
    profile = from_trace(REAL_TRACE, speed=1000, scale=0.5)
    begin = time.monotonic()
    found = simulate(chosen("adaptive"), Setting(profile)).scores()
    assert found.lost == 0
    assert found.events > 100_000
    assert time.monotonic() - begin < 20


def test_what_cannot_be_simulated_is_refused() -> None:
    for work in (Times(0.0), Times(0.0, "exponential")):
        with pytest.raises(InvalidRequest):
            Setting(steady(), work=work)
    with pytest.raises(InvalidRequest):
        Setting(steady(), phase_seconds=2.0)
    with pytest.raises(InvalidRequest):
        Times(0.1, "gamma")


PRICES = some.sampled_from([0.0, 2.0, 10.0])


def trace(rates: list[float]) -> Profile:
    """Return a load of one rate each 2 s."""
    return Profile(
        "random", "random", tuple(2.0 * at for at in range(len(rates))), tuple(rates), 2.0 * len(rates)
    )


def run_settings(readings: int, most_rate: float, most_workers: int) -> some.SearchStrategy[Setting]:
    return some.builds(
        Setting,
        profile=some.lists(some.floats(0.5, most_rate), min_size=readings, max_size=readings).map(trace),
        work=some.builds(
            Times, some.sampled_from([0.1, 0.3]), some.sampled_from(["constant", "exponential"])
        ),
        start=some.builds(Times, some.sampled_from([0.015, 0.4, 1.0])),
        min_workers=some.integers(0, 1),
        max_workers=some.just(most_workers),
        phase_seconds=some.sampled_from([0.0, 0.7]),
        drift_at=some.sampled_from([None, 3.0]),
        seed=some.integers(1, 1000),
    )


@settings(max_examples=8, deadline=None)
@given(setting=run_settings(3, 8.0, 2), late=some.integers(0, 4), price=PRICES)
def test_no_schedule_of_a_small_run_is_cheaper_than_the_bound(
    setting: Setting, late: int, price: float
) -> None:
    bound = lower_bound(setting, late, price)
    for schedule in product(range(setting.min_workers, setting.max_workers + 1), repeat=setting.readings):
        run = simulate(scheduled(schedule), setting)
        cost = run.worker_seconds + price * started(setting.min_workers, schedule)
        assert run.late_events > late or bound <= cost + 1e-6


@settings(max_examples=12, deadline=None)
@given(
    setting=run_settings(20, 60.0, 12),
    price=PRICES,
    policy=some.sampled_from(
        ["adaptive", "assignment", "assignment:hold=8", "rate", "reference", "static:workers=5"]
    ),
)
def test_no_policy_is_cheaper_than_the_bound_at_its_own_lateness(
    setting: Setting, price: float, policy: str
) -> None:
    run = simulate(chosen(policy), setting)
    cost = run.worker_seconds + price * run.starts
    assert lower_bound(setting, run.late_events, price) <= cost + 1e-6


def test_the_bound_is_near_what_a_schedule_reaches() -> None:
    setting = Setting(trace([20, 80, 150, 60, 30, 90, 40, 20] * 3), start=Times(0.4))
    late = allowed_late(round(setting.profile.mean_rate * setting.profile.duration_seconds))
    assert 1 <= achievable(setting, late) / lower_bound(setting, late) <= 1.15


def test_a_bound_is_infinite_where_the_most_workers_are_too_few() -> None:
    assert lower_bound(Setting(steady(100.0, 20.0), max_workers=2), 0) == math.inf


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "noisy", "--policy", "adaptive,assignment", "--work-time", "100ms"]) == 0
    printed = capsys.readouterr().out
    assert all(
        word in printed
        for word in ("adaptive", "assignment", "late, %", "reversals", "seed 1", "events/s", "readings/s")
    )


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "step", "--policy", "static:workers=20", "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seed"] == 3
    assert found["policies"]["static:workers=20"]["lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--min", "3", "--max", "2"], "min <= max"),
        (["--max", "0"], "max > 0"),
        (["--policy", "magic"], "no policy 'magic'"),
        (["--declared-rate", "0"], "above 0"),
        (["--declared-rate", "nan"], "above 0"),
        (["--drift", "0"], "above 0"),
        (["--trace", "/nowhere.csv"], "cannot be read"),
        (["--seed", "-1"], "seed"),
        (["--phase", "2s"], "phase"),
    ],
)
def test_bad_usage_is_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_the_figures_tell_late_cost_and_actions_and_compare_the_totals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FAMILIES", {"plateau": lambda seed: FAMILIES["plateau"](seed).until(60.0)})
    assert figures.main(["--policy", "adaptive,rate", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("plateau", "over the optimum", "price 10", "4 "))
    assert figures.main(["--policy", "magic"]) == 2
    assert figures.main(["--seeds", "0"]) == 2


def test_adaptive_is_cheaper_than_its_rivals_on_traces_that_its_constants_did_not_see() -> None:
    settings = [one for name in ("sessions", "launch") for one in figures.settings_of(FAMILIES[name](31), 31)]
    for price in figures.PRICES:
        ratios = [figures.over_rivals("adaptive", setting, price) for setting in settings]
        assert sum(ratios) / len(ratios) <= 1.02


def test_a_scaled_object_has_the_fields_of_keda_and_the_measured_values() -> None:
    text = scaled_object(rate=9.8, start_seconds=0.4, least=1, most=50)
    found = yaml.safe_load(text)
    assert (found["apiVersion"], found["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = found["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 50)
    modes = {trigger["metadata"]["mode"]: trigger["metadata"] for trigger in spec["triggers"]}
    assert modes["MessageRate"]["value"] == "7"  # 0.8 x 9.8
    assert modes["QueueLength"]["value"] == "7"  # 9.8 x (2 - 0.1 - 0.4) / 2
    assert all(isinstance(value, str) for trigger in modes.values() for value in trigger.values())
    assert modes["MessageRate"]["protocol"] == "http"  # KEDA has no rate over AMQP
    assert "9.8 messages per second" in text
    assert "0.4 s after the wish" in text


def test_a_worker_slower_than_the_objective_still_gets_whole_values() -> None:
    found = yaml.safe_load(scaled_object(rate=0.3, start_seconds=5.0, least=0, most=3))
    assert {trigger["metadata"]["value"] for trigger in found["spec"]["triggers"]} == {"1"}
    assert (
        found["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"][
            "stabilizationWindowSeconds"
        ]
        == 100
    )
