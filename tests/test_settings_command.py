"""``lab settings`` end to end, on real systems: a change of each kind that is applied in its own way."""

import json
from pathlib import Path

import pytest

from harness.experiment.contestants import Terms
from harness.experiment.settings import changes, measured
from harness.record.findings import SAME
from harness.record.journal import read_run
from lab.process.system import BrokerUrls
from tests import report, settings

TINY = ["--pairs", "3", "--seconds", "0.2s"]


def test_a_run_writes_data_and_plot_and_can_be_drawn_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = settings.main([*TINY, "--only", "xmlrpc:keep-alive", "--json", "--results", str(tmp_path)])
    run = json.loads(capsys.readouterr().out)
    assert [(one["setting"], one["value"]) for one in run["costs"]] == [
        (SAME, ""),
        ("keep-alive", "off"),
    ]
    assert code == int(any(one["doubts"] for one in run["costs"]))
    for one in run["costs"]:
        assert len(one["ratios"]) == 3
        assert one["interval"][0] < one["ratio"] < one["interval"][1]
    folder = tmp_path / "latest"
    assert [cost.ratios for cost in read_run(folder / "run.json").costs] == [
        one["ratios"] for one in run["costs"]
    ]
    plot = folder / "plots" / "tornado-xmlrpc.png"
    plot.unlink()
    assert report.main([str(folder)]) == 0
    assert plot.stat().st_size > 10_000


@pytest.mark.parametrize(
    "only",
    ["pyro4:server type", "redis_impl:batch=10,redis_impl:appendonly=off"],
)
def test_a_change_is_applied_and_answered_rightly(only: str, redis_url: str) -> None:
    _measure(only, BrokerUrls(redis=redis_url))


def test_a_changed_node_of_rabbitmq_answers_rightly(amqp_url: str) -> None:
    _measure("rabbitmq:confirms", BrokerUrls(amqp=amqp_url))


def test_what_has_no_broker_is_skipped() -> None:
    found = list(measured("rabbitmq", changes("rabbitmq:prefetch"), Terms(BrokerUrls(), 0.2, 1)))
    assert [one.missing for one in found] == ["no rabbitmq here"]


def _measure(only: str, urls: BrokerUrls) -> None:
    wanted = changes(only)
    found = list(measured(wanted[0].setting.middleware, wanted, Terms(urls, 0.1, 1), clients=1))
    assert len(found) == 1 + len(wanted)
    for cost in found:
        assert cost.rates, cost.objections
