"""The experiments of the lab: whole in each form, and what `run`, `stress` and `bench` make of them."""

import itertools
import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.experiment.bench import Bench, looks
from harness.experiment.command import shipped
from harness.experiment.definition import Filling
from harness.experiment.document import EXPERIMENTS, read_document, read_experiment
from harness.experiment.probes import PROBES, Extent
from harness.experiment.runner import Blocks, steps_of
from harness.experiment.session import CALIBRATION_SECONDS, Step
from harness.experiment.side import BARE, Side, start_systems
from harness.load.workload import Workload
from harness.record.findings import Finding, Judgement
from harness.record.run import Guarantee
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls
from tests import measure
from tests.harness.runs import point


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_of_the_lab_begins_with_its_question_and_is_whole_in_each_form(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("question: ")
    for is_full in (False, True):
        found = read_experiment(path, Filling(is_full=is_full))
        assert found.question.endswith("?")
        assert all(step.seconds > 0 for step in steps_of(found))


ALL_STUDIES = ["requests", "pipelined", "accepted", "clients", "capacity"]


@pytest.mark.parametrize(
    ("load", "has", "studies"),
    [
        ({"clients": "8"}, {"clients": {8}}, ["requests", "pipelined", "accepted"]),
        ({"nodes": "5"}, {"nodes": {0, 5}}, ALL_STUDIES),
        ({"in flight": "20"}, {"in_flight": {20}}, ["pipelined"]),
        ({"text": "1KiB"}, {"text_bytes": {1024}}, ALL_STUDIES),
        ({"work": "5ms waiting"}, {"work": {"5ms waiting"}}, ALL_STUDIES),
        ({"handler": "builtins:repr"}, {"handler": {"builtins:repr"}}, ALL_STUDIES),
        ({"guarantee": "on disk"}, {"guarantee": {Guarantee.DISK}}, ALL_STUDIES),
        ({"batch": "10"}, {"batch": {10}}, ["requests", "clients"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_stress_takes_each_option_of_the_load_and_leaves_out_what_cannot_be_with_it(
    load: dict[str, str], has: dict[str, set[object]], studies: list[str]
) -> None:
    name = "xmlrpc" if "batch" in load else "redis_impl"
    wanted = [one for one in ALL_STUDIES if one != "capacity" or "batch" not in load]
    parts = read_experiment(EXPERIMENTS / "stress.yaml", Filling(load, only=[name], studies=wanted)).parts
    ((field, values),) = has.items()
    found = {part.study for part in parts if {getattr(side, field) for side in part.sides} <= values}
    assert [study for study in ALL_STUDIES if study in found] == studies
    for part in parts:  # a number of nodes is that of the systems that have several
        assert all(side.nodes <= 1 for side in part.sides if side.architecture == Architecture.ONE_NODE)


def test_parts_of_one_system_are_measured_one_after_the_other_while_it_stays_up() -> None:
    found = read_experiment(EXPERIMENTS / "run.yaml", Filling(only=["redis_impl", "xmlrpc"]))
    assert [step.what for step in steps_of(found)][:4] == [
        "requests, pipelined: XML-RPC, one-node",
        "requests, speedup: XML-RPC, n-node",
        "requests, pipelined: Redis, one-node",
        "requests, speedup: Redis, n-node",
    ]


def test_a_run_measures_both_guarantees_and_variants_of_a_middleware_in_the_same_blocks() -> None:
    for is_full in (False, True):
        found = read_experiment(EXPERIMENTS / "run.yaml", Filling(is_full=is_full))
        parts = [
            part for part in found.parts if part.study == "requests" and part.blocks > 1 and not part.ramp
        ]
        for part in parts:
            name, kept = part.sides[0].middleware.partition(":")[0], {one.guarantee for one in part.sides}
            both = {Guarantee.NOTHING, Guarantee.DISK} if MIDDLEWARES[name].broker else {Guarantee.NOTHING}
            assert kept == both
            assert {side.middleware for side in part.sides} == {name, f"{name}:stock"}
            assert len(part.sides) == 2 * len(both)
        assert len(parts) == 2 * len(MIDDLEWARES)


def test_a_run_over_several_machines_varies_no_guarantee() -> None:
    found = read_experiment(EXPERIMENTS / "run.yaml", Filling(is_spread=True))
    assert {side.guarantee for part in found.parts for side in part.sides} == {None}


SHORT_SECONDS = 180.0


def steps_of_run(*only: str) -> list[Step]:
    """Return the steps of the short form of `lab run`."""
    return steps_of(read_experiment(shipped("run"), Filling(only=only)))


def test_the_short_form_is_planned_within_three_minutes() -> None:
    assert CALIBRATION_SECONDS + sum(step.seconds for step in steps_of_run()) < SHORT_SECONDS


def test_a_variant_that_is_named_alone_is_measured_alone() -> None:
    assert {step.what.rpartition(": ")[2] for step in steps_of_run("xmlrpc:stock")} == {
        "XML-RPC stock, one-node",
        "XML-RPC stock, n-node",
    }


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
    code = measure.bench([*options, "--results", str(tmp_path)])
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert finding["what"] == "XML-RPC insult_me, 4 clients: tuned over stock"
    assert set(finding["rates"]) == {"tuned", "stock"}
    assert code == {"reached": 0, "missed": 1, "undecided": 3}[finding["verdict"]]


def test_texts_are_censored_at_a_rate() -> None:
    found = list(PROBES["censoring"].measure(Bench(BrokerUrls(), Workload()), Extent(3, 0.01)))
    assert len(found) == 4
    assert all(min(one.values) > 0 for one in found)
