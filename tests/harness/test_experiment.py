"""Experiments as data, and their sides: read whole or refused in one line, measured, and judged by blocks."""

import csv
import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.experiment.bench import Bench
from harness.experiment.definition import Filling
from harness.experiment.document import FIELDS, OF_FILE, read_document, read_experiment
from harness.experiment.factors import FACTORS, SETTINGS
from harness.experiment.runner import Blocks, judge
from harness.experiment.side import SUBMIT, Anything, Side, known_text, start_systems
from harness.load.workload import ADD_AND_REMOVE, INSULT_ME, Workload
from harness.record import read
from harness.record.findings import Finding, Judgement
from harness.record.journal import write_run
from harness.record.run import Guarantee, Run
from harness.record.table import COLUMNS
from harness.statistics import Verdict
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.errors import InvalidRequest
from lab.limits import MAX_TEXT_BYTES
from lab.load.texts import default_insults
from lab.process.system import BrokerUrls
from tests import measure, report
from tests.harness.runs import compared, point

GUIDE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
PREFETCH = GUIDE.split("```yaml\n")[1].split("```")[0]
"""The example that readers copy."""


def document(text: str, filling: Filling = Filling()):  # type: ignore[no-untyped-def]  # noqa: B008
    return read_document(yaml.load(text, yaml.BaseLoader), "my.yaml: ", filling)


def test_the_example_of_the_guide_is_read() -> None:
    [part] = document(PREFETCH).parts
    assert [side.options for side in part.sides] == [("--prefetch=1",), ("--prefetch=100",)]
    first = part.sides[0]
    assert (first.nodes, first.clients, first.in_flight, first.text_bytes) == (3, 16, 8, 1024)
    assert (first.architecture, first.work) == (Architecture.N_NODE, "5ms waiting")
    assert (part.blocks, part.window_seconds, part.has_again) == (5, 2.0, True)
    assert [(one.bar, one.is_least) for one in part.expect] == [(1.1, True)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("question", "qestion", "qestion: no such field"),
        ("blocks: 5", "blocks: five", "blocks: 'five'; possible is"),
        ("window: 2s", "window: 2", "window: '2' has no unit; write 2s or 2ms"),
        ("clients: 16", "clients: 0", "clients: '0'; possible is a whole number"),
        ("text: 1 KiB", "text: 1 GiB", "text: '1 GiB'; possible is generated, or"),
        ("5ms waiting", "5ms sleeping", "work: '5ms sleeping'; possible is"),
        ("prefetch: 100", "prefech: 100", "prefech: no such factor; possible is middleware,"),
        ("- rabbitmq: {prefetch: 1}", "- corba", "middleware: 'corba'; possible is xmlrpc"),
        ("application: filter", "guarantee: gold", "guarantee: 'gold'; possible is nothing kept"),
        ("application: filter", "batch: 5", "batch: rabbitmq has no batches"),
        ("application: filter", "operation: submit", "operation: submit takes no in flight"),
        ("> 1.1", "1.1", "ratio: '1.1'; possible is such as"),
        ("compare:", "compare: [redis_impl]\nover: {nodes: [1]}\nload2:", "load2: no such field"),
    ],
)
def test_a_wrong_file_gets_one_line_with_the_field_the_value_and_what_is_possible(
    old: str, new: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        document(PREFETCH.replace(old, new))
    assert refused.value.message.startswith(f"my.yaml: {said}")
    assert "\n" not in refused.value.message


OVER = "question: q\nover: {middleware: [rabbitmq, xmlrpc], nodes: [1, 3], clients: [2, 8]}"
ONE_EACH = "question: q\nover: {middleware: [rabbitmq, xmlrpc]}"
COMPARED = "question: q\ncompare: [rabbitmq: {nodes: 3}, xmlrpc: {nodes: 3}, xmlrpc: {nodes: 1}]"
BETWEEN = "different middlewares or architectures of `over` are measured one after the other; `compare`"


@pytest.mark.parametrize(
    ("text", "sides", "said"),
    [
        (OVER, "of: {nodes: 7}, to: {nodes: 1}", "of: nodes 7: no side has it; possible is nodes 1, 3"),
        (
            OVER,
            "of: {nodes: 3}, to: {nodez: 1}",
            "to: nodez 1: no side has it; possible is middleware rabbitmq",
        ),
        (OVER, "of: {interval: 2}", "of: interval 2: no side has it; possible is interval 5s"),
        (OVER, "of: {nodes: 3}, to: {nodes: 3}", "different middlewares"),
        (OVER, "of: {middleware: rabbitmq, nodes: 3}, to: {middleware: xmlrpc, nodes: 3}", BETWEEN),
        (ONE_EACH, "", BETWEEN),
        ("question: q\nover: {middleware: xmlrpc}", "", "of and to: there are no two sides"),
        (COMPARED, "of: {nodes: 3}, to: {nodes: 7}", "to: nodes 7: no side has it; possible is nodes 3, 1"),
        (
            COMPARED,
            "of: {middleware: rabbitmq, nodes: 1}",
            "of: no side has all of middleware rabbitmq, nodes 1",
        ),
        (
            COMPARED,
            "of: {side: rabbit}",
            "of: side rabbit: no side has it; possible is side rabbitmq:nodes=3,",
        ),
        ("question: q\nprobe: censoring", "", "'of a probe or a capacity'; possible is sides whose"),
    ],
)
def test_an_expectation_of_sides_that_are_not_measured_together_is_refused(
    text: str, sides: str, said: str
) -> None:
    given = f'{text}\nexpect: {{ratio: "> 1", {sides}}}'
    with pytest.raises(InvalidRequest) as refused:
        document(given)
    assert refused.value.message.startswith(f"my.yaml: expect: {said}")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("text", "sides", "count"),
    [
        (OVER, "of: {nodes: 3}, to: {nodes: 1}", 4),  # clients alike, in each of two middlewares
        (OVER, "of: {middleware: xmlrpc, nodes: 3}, to: {middleware: xmlrpc, nodes: 1}", 2),
        (OVER, "of: {clients: 8}", 4),
        (COMPARED, "of: {middleware: rabbitmq, nodes: 3}, to: {middleware: xmlrpc, nodes: 3}", 1),
        (COMPARED, "of: {side: 'rabbitmq:nodes=3'}, to: {side: 'xmlrpc:nodes=1'}", 1),
        (COMPARED, "", 1),
    ],
)
def test_an_expectation_is_judged_between_sides_that_are_else_alike(
    text: str, sides: str, count: int
) -> None:
    parts = document(f'{text}\nexpect: {{ratio: "> 1", {sides}}}').parts
    assert sum(len(list(one.pairs(part.sides))) for part in parts for one in part.expect) == count


def test_a_file_that_is_no_experiment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    for text in ("", "- a", "question: [", "a: b: c"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidRequest, match=r"my\.yaml: "):
            read_experiment(path)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_experiment(tmp_path / "none.yaml")


def test_factors_are_varied_together_and_what_no_system_keeps_is_left_out() -> None:
    found = document(
        "question: q\nover: {middleware: all, guarantee: [nothing kept, on disk], nodes: [1, 3]}"
        "\nload: {clients: 24}"
    )
    sides = [side for part in found.parts for side in part.sides]
    assert len(sides) == 2 * (4 * 1 + 4 * 2)  # the direct ones keep nothing
    assert {side.guarantee for side in sides if side.middleware == "xmlrpc"} == {"nothing kept"}
    assert all(side.clients == 24 for side in sides)
    for part in found.parts:  # systems of two middlewares are not up together
        assert len({side.middleware.partition(":")[0] for side in part.sides}) == 1


def test_a_capacity_takes_all_factors_but_those_without_an_answer_to_each_request() -> None:
    text = "question: q\nover: {middleware: [xmlrpc]}\ncapacity: {objective: 20ms}"
    [part] = document(text, Filling({"application": "service", "nodes": "2"}, objective="30ms")).parts
    [side] = part.sides
    assert (part.objective_seconds, side.application, side.nodes) == (0.03, Application.SERVICE, 2)
    for factors in ({"operation": "submit"}, {"batch": "10"}, {"operation": "ticks"}):
        with pytest.raises(InvalidRequest, match="capacity: 'xmlrpc'; possible is single requests"):
            document(text, Filling(factors))


def test_the_command_line_replaces_what_the_file_says() -> None:
    text = "question: q\nover: {middleware: tuned, clients: [1, 2]}\nfull: {blocks: 9}\nblocks: 2"
    filling = Filling({"clients": 7, "nodes": ["1", "2"]}, {"window": "1s"}, only=["xmlrpc:stock", "pyro4"])
    parts = document(text, filling).parts
    assert [(side.middleware, side.clients, side.nodes) for part in parts for side in part.sides] == [
        (name, 7, nodes) for name in ("xmlrpc:stock", "pyro4") for nodes in (1, 2)
    ]
    assert {(part.blocks, part.window_seconds) for part in parts} == {(2, 1.0)}
    assert {part.blocks for part in document(text, Filling(is_full=True)).parts} == {9}


def blocks_of(text: str, rates: list[list[float]], invalid: tuple[int, int] | None = None) -> Blocks:
    """Return blocks of the sides, and of A again, of an experiment; *rates* by block."""
    [part] = document(text).parts
    found = Blocks(part)
    turns = [*zip("AB", part.sides, strict=True), ("A again", part.sides[0])]
    for number, block in enumerate(rates, 1):
        for place, (turn, rate) in enumerate(zip(turns, block, strict=True)):
            objections = ["client-bound"] if invalid == (number, place) else []
            found.add(turn, point("compare", throughput=rate, block=number, objections=objections))
    return found


TWO = "question: q\ncompare: [redis_impl, xmlrpc]"


@pytest.mark.parametrize(("ratio", "verdict"), [(2.0, Verdict.FASTER), (0.5, Verdict.SLOWER)])
def test_a_comparison_of_whole_blocks_has_a_verdict(ratio: float, verdict: Verdict) -> None:
    blocks = blocks_of(TWO, [[rate, ratio * rate, rate + 1] for rate in (1000.0, 1010.0, 1020.0)])
    [finding] = blocks.findings()
    assert finding.verdict is verdict
    assert finding.comparison
    assert finding.comparison.ratio.value == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("place", range(3))
def test_a_block_with_an_invalid_window_is_left_out_and_too_few_are_undecided(place: int) -> None:
    rates = [[1000.0, 2000.0, 1001.0]] * 3
    [finding] = blocks_of(TWO, rates, (2, place)).findings()
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.notes == ["1 of 3 blocks are left out: client-bound"]
    [finding] = blocks_of(TWO, [*rates, [1000.0, 2000.0, 1003.0]], (2, place)).findings()
    assert finding.verdict is Verdict.FASTER


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.5, Judgement.REACHED), (0.8, Judgement.MISSED), (1.1, Judgement.UNDECIDED)]
)
def test_an_expectation_is_judged_by_the_whole_interval(ratio: float, verdict: Judgement) -> None:
    text = f'{TWO}\nagain: no\nexpect: {{ratio: "> 1.1"}}'
    [part] = document(text).parts
    found = Blocks(part)
    for number, noise in enumerate((0.98, 1.0, 1.02), 1):
        for side, rate in zip(part.sides, (1000.0, 1000.0 * ratio * noise), strict=True):
            found.add(("", side), point(throughput=rate, block=number))
    [finding] = found.findings()
    assert finding.verdict is verdict


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(compared(), 0), (compared(1.0), 0), (compared(again=[]), 3), (compared(bar=3.0), 1)],
    ids=["faster", "equivalent", "undecided", "missed"],
)
def test_the_exit_code_tells_decided_from_undecided_and_from_missed(verdict: Finding, code: int) -> None:
    assert judge(Run("compare", {}, {}, findings=[verdict])) == code


def test_an_experiment_of_ones_own_is_measured_from_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "question: Do batches help?\nstudy: batches\nover: {middleware: [xmlrpc], batch: [off, 10]}"
        "\nload: {clients: 2, text: 64 B}\nblocks: 9\nwindow: 750ms\nfull: {blocks: 3}"
        '\nexpect: {ratio: "> 0.001", of: {batch: 10}, to: {batch: off}}',
        encoding="utf-8",
    )
    code = measure.main([str(path), "--full", "--results", str(tmp_path), "--json"])
    run = json.loads(capsys.readouterr().out)
    assert len(run["points"]) == 2 * 3
    assert {one["factors"]["batch"] for one in run["points"]} == {"off", "10"}
    [finding] = run["findings"]
    assert finding["verdict"] in ("reached", "undecided")  # a noisy machine leaves blocks out
    assert code == (3 if finding["verdict"] == "undecided" else 0)
    assert run["configuration"]["question"] == "Do batches help?"
    assert (tmp_path / "latest" / "report.html").exists()


def test_every_field_factor_setting_and_column_is_documented() -> None:
    settings = [name for own in SETTINGS.values() for name in own]
    for name in (*FIELDS, *OF_FILE, *FACTORS, *settings):
        assert f"`{name}`" in GUIDE, name
    for name in COLUMNS:
        assert name in GUIDE.replace("`p50_ms` ... `p99.9_ms`", "p50_ms p90_ms p95_ms p99_ms p99.9_ms"), name


def test_each_example_of_the_guide_is_an_experiment() -> None:
    examples = re.findall("```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert [sum(len(part.sides) for part in document(text).parts) for text in examples] == [2, 4]


def test_a_run_is_a_table_and_two_are_put_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, rate, commit in ((first, 1000.0, "c1"), (second, 500.0, "c2")):
        folder.mkdir()
        points = [
            point("clients", throughput=rate),
            point("sweep", throughput=rate, objections=["client-bound"]),
        ]
        write_run(Run("stress", {}, {"commit": commit}, points=points), folder)
    assert report.export([str(first), "--csv", str(tmp_path / "a.csv")]) == 0
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["study"], row["variant"], row["throughput"], row["valid"]) for row in found] == [
        ("clients", "tuned", "1000.0", "True"),
        ("sweep", "tuned", "1000.0", "False"),
    ]
    assert [list(row) for row in read(first)] == [list(COLUMNS)] * 2
    assert report.diff([str(first), str(second)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"clients.* 1,000/s.* 500/s .*0\.50", said)
    assert "sweep" not in said  # an invalid window supports nothing
    assert "commit: c1 in A, c2 in B." in said
    assert "not measured in the same blocks" in said


@pytest.mark.parametrize("length", [16, 64, 1024, MAX_TEXT_BYTES])
def test_texts_have_their_length_and_the_known_answer(length: int) -> None:
    text, filtered = known_text(length)
    assert len(text.encode()) == length
    assert Censor(list(default_insults())).censor(text) == filtered


@pytest.mark.parametrize(
    ("middleware", "factors", "field"),
    [
        ("xmlrpc", {"guarantee": Guarantee.DISK}, "guarantee"),
        ("pyro4:stock", {"guarantee": Guarantee.MEMORY}, "guarantee"),
        ("xmlrpc", {"guarantee": Guarantee.DISK, "architecture": Architecture.N_NODE}, "guarantee"),
        ("redis_impl", {"batch": 10}, "batch"),
        ("xmlrpc", {"batch": 10, "in_flight": 2}, "batch"),
        ("rabbitmq", {"nodes": 3}, "nodes"),
        ("rabbitmq", {"operation": INSULT_ME, "work": "5ms waiting"}, "operation"),
        ("rabbitmq", {"insults": 10}, "insults"),
    ],
)
def test_a_side_that_cannot_be_is_refused_by_the_name_of_its_field(
    middleware: str, factors: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        Side(middleware, **factors)  # type: ignore[arg-type]


def test_direct_middlewares_keep_nothing_but_what_n_nodes_accept_for_later() -> None:
    weak = BrokerUrls("redis://", descriptions=("redis: Redis 7, WEAK: appendonly no",))
    strong = BrokerUrls("redis://", descriptions=("redis: Redis 7",))
    called = Side("xmlrpc", Architecture.N_NODE)
    submitted = replace(called, operation=SUBMIT)
    assert [called.kept(strong), submitted.kept(strong), submitted.kept(weak)] == [
        Guarantee.NOTHING,
        Guarantee.DISK,
        Guarantee.MEMORY,
    ]
    assert Side("redis_impl").kept(weak) is Guarantee.MEMORY
    assert replace(submitted, guarantee=Guarantee.NOTHING).kept(strong) is Guarantee.NOTHING


def test_an_answer_that_nobody_checks_equals_every_text() -> None:
    assert Anything() in ["whatever"]
    assert Anything() == "whatever"
    assert Anything() != 7


@pytest.mark.parametrize(
    "side",
    [
        Side("redis_impl", guarantee=Guarantee.NOTHING, in_flight=10),
        Side("redis_impl:stock", guarantee=Guarantee.MEMORY),
        Side("rabbitmq", guarantee=Guarantee.NOTHING, in_flight=10, text_bytes=64),
        Side("rabbitmq:stock", Architecture.N_NODE, guarantee=Guarantee.NOTHING),
        Side("rabbitmq", guarantee=Guarantee.MEMORY),
        Side("rabbitmq", changes=("confirms=each", "acknowledge=each")),
        Side("xmlrpc", changes=("keep-alive=off",), batch=10),
        Side("pyro4:stock", guarantee=Guarantee.NOTHING, handler="builtins:repr"),
        Side("xmlrpc", operation=ADD_AND_REMOVE, insults=2000),
        Side("redis_impl", Architecture.N_NODE, operation=INSULT_ME, guarantee=Guarantee.NOTHING, insults=20),
    ],
    ids=lambda side: f"{side.middleware}, {side.operation}, {side.guarantee}",
)
def test_a_side_answers_rightly_at_each_guarantee_and_with_changed_code(
    side: Side, redis_url: str, amqp_url: str
) -> None:
    bench = Bench(BrokerUrls(redis_url, amqp_url), Workload())
    with ExitStack() as stack:
        two = replace(side, clients=2)
        load = stack.enter_context(two.load(bench, *start_systems(bench, [two], stack)))
        measured = load.requests(20)
    assert (measured.made, measured.done) == (40, 40)
