"""Planning: what is predicted of known laws, how often the interval holds, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.planning import Curve, busy_share, check, fit_curve, plan
from harness.record.journal import write_run
from harness.record.measurement import Usage
from harness.record.run import Capacity, Point, Run
from harness.report.planning import best_speedups, capacities, print_plans
from lab.errors import InvalidRequest
from tests import report
from tests.harness.runs import run_of, speedup_points, window

EXPERIMENTS, TRIALS, NOISE = 150, 5, 0.03
COUNTS = (1, 2, 3, 4)


def law(nodes: int, alpha: float, beta: float, gamma: float = 180.0) -> float:
    """Return the throughput that the law gives."""
    return gamma * nodes / (1 + alpha * (nodes - 1) + beta * nodes * (nodes - 1))


def fitted(alpha: float, beta: float, noise: float, seed: int = 1) -> Curve:
    """Return the curve of five trials each at 1 to 4 nodes."""
    random = np.random.default_rng(seed)
    nodes = [n for n in COUNTS for _ in range(TRIALS)]
    return fit_curve(nodes, [law(n, alpha, beta) * float(np.exp(random.normal(0, noise))) for n in nodes])


def measured(
    counts: tuple[int, ...] = (1, 2, 3, 4, 8), work: str = "5ms waiting", cores: int = 64, scale: float = 1.0
) -> Run:
    """Return a run whose Redis spends 0.2 ms per request and whose nodes 0.4 ms, beside 0.3 ms of load."""
    points: list[Point] = []
    for block, point in enumerate(speedup_points("redis_impl", 3)[::3]):
        for nodes in counts:
            made = scale * law(nodes, 0.01, 0.0005) * (1 + 0.002 * block * (-1) ** nodes)
            spent = {"node": 0.4e-3 * made, "redis": 0.2e-3 * made}
            seen = window(made, generator_cpu_seconds=0.3e-3 * made)
            points.append(
                replace(point, nodes=nodes, measurement=seen, usage=Usage(spent, {}), block=block, work=work)
            )
    return run_of(*points, environment={"cores": cores})


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.0), (0.02, 0.0), (0.03, 0.002), (0.1, 0.01)])
def test_the_interval_for_eight_nodes_from_one_to_four_holds_a_new_trial_in_93_of_100(
    alpha: float, beta: float
) -> None:
    random = np.random.default_rng(7)
    held = 0
    for seed in range(EXPERIMENTS):
        predicted = fitted(alpha, beta, NOISE, seed).at(8)
        trial = law(8, alpha, beta) * float(np.exp(random.normal(0, NOISE)))
        held += (predicted.low or 0) <= trial <= (predicted.high or 0)
    assert held / EXPERIMENTS >= 0.93


def test_without_noise_the_law_itself_is_predicted() -> None:
    predicted = fitted(0.03, 0.002, 1e-6).at(8)
    assert predicted.value == pytest.approx(law(8, 0.03, 0.002), rel=1e-3)


def test_a_prediction_is_never_more_than_linear() -> None:
    curve = fitted(0.0, 0.0, NOISE)
    assert (curve.at(8).high or 0) <= 8 * (curve.at(1).high or 0)


def test_an_idle_node_that_is_too_slow_may_not_be_busy_at_all() -> None:
    assert busy_share(60.0, 50.0, 1.0) == pytest.approx(0.0, abs=1e-6)
    assert 0.5 < busy_share(5.0, 50.0, 1.0) < busy_share(5.0, 50.0, 0.5) < 0.9


def test_the_wait_of_a_queue_of_exponential_times_is_the_known_one() -> None:
    busy, service = busy_share(5.0, 50.0, 1.0), 5.0
    assert busy * np.exp(-(1 - busy) * (50.0 - service) / service) == pytest.approx(0.01, rel=1e-3)


def test_a_rate_within_reach_gets_its_nodes_and_one_broker() -> None:
    made = plan(measured(), "here", "redis_impl", "5ms waiting", 400.0, 50.0)
    assert made.nodes is not None
    assert made.brokers is not None
    assert 3 <= made.nodes.least <= (made.nodes.about or 0) <= (made.nodes.most or 0) <= 8
    assert made.brokers.most == 1
    assert made.cores == pytest.approx(400 * 0.6e-3, rel=0.01)


def test_the_store_that_works_on_one_core_is_the_first_limit() -> None:
    made = plan(measured(), "here", "redis_impl", "5ms waiting", 400.0, 50.0)
    assert [limit.component for limit in made.limits] == ["redis"]
    assert made.limits[0].rate == pytest.approx(0.8 / 0.2e-3, rel=0.01)


def test_a_rate_out_of_reach_is_planned_in_measured_cells_and_the_prediction_refused() -> None:
    made = plan(measured(), "here", "redis_impl", "5ms waiting", 1e6, 50.0)
    assert made.nodes is not None
    assert made.brokers is not None
    assert made.brokers.least in (250, 251)
    assert made.nodes.about is None
    assert made.nodes.most == 8 * (made.brokers.most or 0)
    assert any("more than 16 nodes" in refusal for refusal in made.refusals)


def test_trials_in_which_the_machine_was_the_limit_are_left_out() -> None:
    made = plan(measured(cores=1, scale=2.0), "here", "redis_impl", "5ms waiting", 1000.0, 50.0)
    assert any("from 3 node(s) on the 1 core(s)" in refusal for refusal in made.refusals)
    assert any("the law needs 3" in refusal for refusal in made.refusals)
    assert made.nodes is None


def test_what_the_data_cannot_tell_is_said() -> None:
    said = plan(measured(), "here", "redis_impl", "5ms waiting", 400.0, 50.0).refusals
    assert any("no CPU-bound data" in refusal for refusal in said)
    run = measured()
    run.points = [replace(point, usage=Usage({"node": 0.1, "redis": 0.0}, {})) for point in run.points]
    said = plan(run, "here", "redis_impl", "5ms waiting", 400.0, 50.0).refusals
    assert any("no CPU time was measured for redis" in refusal for refusal in said)
    said = plan(measured(), "here", "redis_impl", "5ms waiting", 400.0, 4.0).refusals
    assert any("objective cannot be kept" in refusal for refusal in said)


def test_too_few_numbers_of_nodes_are_refused() -> None:
    made = plan(measured((1, 2)), "here", "redis_impl", "5ms waiting", 400.0, 50.0)
    assert made.nodes is None
    assert any("the law needs 3" in refusal for refusal in made.refusals)


def test_a_check_predicts_the_most_nodes_from_half_as_many() -> None:
    (checked,) = check(measured())
    assert (checked.known, checked.nodes) == (4, 8)
    assert checked.is_held


def test_a_check_of_too_few_nodes_says_what_to_measure() -> None:
    with pytest.raises(InvalidRequest, match=r"nothing to check.*--nodes 1,2,3,4,8"):
        check(measured((1, 2, 3)))


def test_the_command_prints_a_table_or_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = measured()
    run.capacities = [
        Capacity("redis_impl", "n-node", 3, 32, 50.0, 900.0, 950.0),
        Capacity("pyro4", "n-node", 3, 32, 200.0, 900.0, 950.0),
    ]
    write_run(run, tmp_path)
    rate = ["--rate", "1000000", "--from", str(tmp_path)]
    assert report.plan(rate) == 0
    said = capsys.readouterr().out
    assert "Redis" in said
    assert "1,112 such system(s)" in said
    assert "pyro4" not in said.split("no search was made")[0].rpartition("\n")[2]
    assert "which is more than is allowed" in said
    assert report.plan([*rate, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plans"][0]["limits"][0]["component"] == "redis"
    assert report.plan(["--check", str(tmp_path)]) == 0
    assert "held" in capsys.readouterr().out


def test_a_newer_careless_run_does_not_replace_good_data() -> None:
    careful, careless = measured(), measured((1, 3))
    careful.points = [replace(point, is_trial=True) for point in careful.points]
    runs = [("newer", careless), ("older", careful), ("oldest", measured())]
    [(kind, (source, run))] = best_speedups(runs).items()
    assert kind == ("redis_impl", "5ms waiting")
    assert run is careful
    assert source == "older (15 valid windows, 15 of them trials with fresh processes), the best of 3 runs"


def test_of_equally_good_runs_the_newest_is_taken() -> None:
    newer, older = measured(), measured()
    [(_, run)] = best_speedups([("newer", newer), ("older", older)]).values()
    assert run is newer


def test_stock_systems_are_planned_too() -> None:
    run = run_of(*speedup_points("xmlrpc:stock"), *speedup_points("redis_impl"), *speedup_points("xmlrpc"))
    kinds = [middleware for middleware, _ in best_speedups([("here", run)])]
    assert kinds == ["xmlrpc:stock", "xmlrpc", "redis_impl"]


def test_a_newer_invalid_search_does_not_replace_a_valid_capacity() -> None:
    invalid, valid = measured(), measured()
    invalid.capacities = [Capacity("redis_impl", "n-node", 3, 32, 50.0, 9.0, 10.0, objections=["busy"])]
    valid.capacities = [Capacity("redis_impl", "n-node", 3, 32, 50.0, 900.0, 950.0)]
    said = capacities([("newer", invalid), ("older", valid)], 1000.0, 50.0)
    assert said[0].startswith("Redis tuned, n-node, 3 nodes: 900 to 950/s")
    assert "(older)" in said[0]
    assert said[-1].endswith("`lab stress M --study capacity --objective 50ms` makes one")


def test_a_column_without_content_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = plan(measured((1, 2)), "here", "redis_impl", "5ms waiting", 400.0, 50.0)
    known = plan(measured(), "here", "redis_impl", "5ms waiting", 400.0, 50.0)
    tables = []
    for one in (unknown, known):
        print_plans([one], [], 400.0, 50.0)
        tables.append(capsys.readouterr().out.partition(", from here")[0])
    assert ["brokers" in table for table in tables] == [False, True]
    assert all("first limit" in table for table in tables)


def test_a_missed_prediction_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = measured()
    run.points = [
        replace(point, measurement=window(point.throughput / 2)) if point.nodes == 8 else point
        for point in run.points
    ]
    write_run(run, tmp_path)
    assert report.plan(["--check", str(tmp_path)]) == 1
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "many", "inf"])
def test_a_rate_that_is_none_is_wrong_usage(rate: str) -> None:
    with pytest.raises(SystemExit) as caught:
        report.plan(["--rate", rate])
    assert caught.value.code == 2
