"""`lab bench`: a verdict is that of the whole interval, and what is undecided is measured longer."""

import itertools
import json
from pathlib import Path

import pytest

from harness.experiment.contestants import Rates, Terms, settled
from harness.experiment.thresholds.rows import judged
from harness.record.findings import Finding, Judgement
from harness.record.run import Run
from lab.process.system import BrokerUrls
from tests import bench

TERMS = Terms(BrokerUrls(), 0.0, 3, budget_seconds=60.0)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([2.0, 2.1, 2.2], Judgement.REACHED),
        ([1.0, 1.1, 1.05], Judgement.MISSED),
        ([0.85, 1.85, 3.3], Judgement.UNDECIDED),
        ([5.0, 5.0], Judgement.INVALID),
    ],
)
def test_a_verdict_is_that_of_the_whole_interval(values: list[float], verdict: Judgement) -> None:
    assert Finding("xmlrpc", "a ratio", values, bar=1.5).verdict is verdict


def test_what_must_stay_below_its_bar_is_judged_the_other_way_round() -> None:
    verdicts = [
        Finding("worker", "ms", values, bar=50.0, at_least=False).verdict
        for values in ([20.0, 21.0, 22.0], [80.0, 81.0, 82.0], [30.0, 50.0, 70.0])
    ]
    assert verdicts == [Judgement.REACHED, Judgement.MISSED, Judgement.UNDECIDED]


def found(rates: Rates) -> list[Finding]:
    return [Finding("a", "a ratio", rates["a"], bar=1.5)]


def test_what_is_undecided_is_measured_twice_as_long_until_it_is_decided() -> None:
    asked: list[int] = []
    rates = itertools.cycle([1.4, 1.9])

    def measure(pairs: int) -> Rates:
        asked.append(pairs)
        return {"a": [next(rates) for _ in range(pairs)]}

    [finding] = settled(measure, found, TERMS)
    assert finding.verdict is Judgement.REACHED
    assert asked[:2] == [3, 3]
    assert len(finding.values) == sum(asked)


def test_what_stays_undecided_ends_with_the_time_that_was_given() -> None:
    [finding] = settled(lambda pairs: {"a": [1.0, 2.0, 3.0][:pairs]}, found, Terms(BrokerUrls(), 0.0, 3))
    assert finding.verdict is Judgement.UNDECIDED


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([[9.0, 9.0, 9.0]], 0),
        ([[9.0, 9.0, 9.0], [1.0, 1.1, 3.0]], 3),
        ([[1.0, 1.1, 3.0], [1.0, 1.0, 1.0]], 1),
    ],
)
def test_the_exit_code_tells_good_from_missed_and_undecided(values: list[list[float]], code: int) -> None:
    run = Run("bench", {}, {}, findings=[Finding("a", "a ratio", some, bar=2.0) for some in values])
    assert judged(run) == code


def test_tuned_is_measured_over_stock_in_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--only", "xmlrpc", "--seconds", "0.2s", "--pairs", "3", "--budget", "1s", "--json"]
    code = bench.main([*options, "--results", str(tmp_path)])
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["what"] == "XML-RPC insult_me, 4 clients: tuned over stock"
    assert set(finding["rates"]) == {"tuned", "stock"}
    assert len(finding["values"]) >= 3
    assert code == {"reached": 0, "missed": 1, "undecided": 3}[finding["verdict"]]
    assert (tmp_path / "latest" / "plots" / "thresholds.png").exists()
