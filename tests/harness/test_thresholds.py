"""`lab bench`: a verdict is that of the whole interval, and what is undecided is measured longer."""

import itertools
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.experiment.bench import Bench, looks
from harness.experiment.document import read_document
from harness.experiment.probes import PROBES, Extent
from harness.experiment.runner import Blocks
from harness.experiment.side import BARE, Side, start_systems
from harness.load.workload import Workload
from harness.record.findings import Finding, Judgement
from lab.process.system import BrokerUrls
from tests import bench
from tests.harness.runs import point


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


def test_what_is_undecided_is_measured_twice_as_long_until_it_is_decided() -> None:
    values: list[float] = []
    asked: list[int] = []

    def is_decided() -> bool:
        asked.append(len(values))
        return Finding("a", "a ratio", values, bar=1.5).verdict is Judgement.REACHED

    for number in looks(3, 60.0, is_decided):
        values.append(1.9 if number % 2 else 1.6)
        assert len(values) == number
    assert asked[0] == 3
    assert all(later == 2 * one for one, later in itertools.pairwise(asked))
    assert Finding("a", "a ratio", values, bar=1.5).verdict is Judgement.REACHED


def test_what_stays_undecided_ends_with_the_time_that_was_given() -> None:
    assert list(looks(3, 0.0, lambda: False)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("with_clients", "verdict"), [("yes", Judgement.REACHED), ("no", Judgement.UNDECIDED)]
)
def test_a_rate_that_clients_limit_counts_where_clients_are_compared(
    with_clients: str, verdict: Judgement
) -> None:
    text = {
        "question": "q",
        "compare": ["redis_impl", "xmlrpc"],
        "again": "no",
        "with clients": with_clients,
        "expect": {"ratio": "> 1.1"},
    }
    [part] = read_document(text, "").parts
    blocks = Blocks(part)
    for block in (1, 2, 3):
        for side, rate in zip(part.sides, (1000.0, 2000.0 + block), strict=True):
            said = ["client-bound: the load generators were the limit"]
            blocks.add(("", side), point(throughput=rate, block=block, objections=said))
    [finding] = blocks.findings()
    assert finding.verdict is verdict


def test_what_brokers_can_do_by_themselves_is_measured(redis_url: str, amqp_url: str) -> None:
    where = Bench(BrokerUrls(redis=redis_url, amqp=amqp_url), Workload())
    for name in ("redis_impl", "rabbitmq"):
        with ExitStack() as stack:
            side = Side(name, clients=2, in_flight=10, operation=BARE)
            load = stack.enter_context(side.load(where, *start_systems(where, [side], stack)))
            measured = load.requests(50)
        assert (measured.made, measured.done) == (100, 100)


def test_tuned_is_measured_over_stock_in_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--only", "xmlrpc", "--window", "750ms", "--budget", "1s", "--json"]
    code = bench.main([*options, "--results", str(tmp_path)])
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["what"] == "XML-RPC insult_me, 4 clients: tuned over stock"
    assert set(finding["rates"]) == {"tuned", "stock"}
    assert code == {"reached": 0, "missed": 1, "undecided": 3}[finding["verdict"]]


def test_texts_are_censored_at_a_rate() -> None:
    found = list(PROBES["censoring"].measure(Bench(BrokerUrls(), Workload()), Extent(3, 0.01)))
    assert len(found) == 4
    assert all(min(one.values) > 0 for one in found)
