"""Faults in lines, tables and report: what was kept, what stock loses, and what was not measured."""

import random
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from harness.faults.load import Entry, Outcome
from harness.faults.scenarios.input import SLOWER_AT_MOST, Bad, compared, window_at
from harness.faults.scenarios.session import SCENARIOS
from harness.record.journal import read_run, write_run
from harness.record.run import Check, Fault, FaultTrial, Timeline
from harness.report.faults import (
    HARMS,
    LEDGER,
    MEANINGS,
    check_words,
    describe_fault,
    fault_table,
    harms,
    sentences,
)
from harness.report.page import write_report
from harness.report.plots import draw
from harness.report.table import print_table
from lab.middleware import VARIANTS
from lab.operations import Operation
from tests.harness.runs import run_of
from tests.harness.test_report import Page

pytestmark = pytest.mark.filterwarnings("error", "ignore:isSet:DeprecationWarning")  # Pyro4's
KEPT = Check("taken over, p99", 0.25, 2.0, "s")
NOT_KEPT = Check("taken over, p99", 3.5, 2.0, "s")


def trial(
    scenario: str = "kills", middleware: str = "xmlrpc", check: Check = KEPT, **more: Any
) -> FaultTrial:
    """Return a trial with two faults, one of which nothing was held up by."""
    counts = {"acknowledged": 1000, "lost": 0, "duplicated": 0}
    faults = [Fault("kill -9", "filter node 1", 0.5, 1.1, 0.2), Fault("SIGSTOP", "filter node 2", 0.7)]
    given: dict[str, Any] = {
        "counts": counts,
        "figures": {"kills": 2.0},
        "faults": faults,
        "timeline": Timeline(0.5, [10, 0, 12], [0, 3, 0], [5.0, None, 900.0]),
        **more,
    }
    return FaultTrial(scenario, middleware, "n-node", 3, 7, 1.5, [check, Check("lost", 0, 0)], **given)


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (Check("lost", 0, 0), True),
        (Check("lost", 1, 0), False),
        (Check("answered", 99.0, 99.0, is_least=True), True),
        (Check("answered", 98.9, 99.0, is_least=True), False),
        (Check("recovered", None, 3.0), False),
        (Check("recovered", None, 3.0, is_least=True), False),
    ],
)
def test_a_bar_is_kept_up_to_its_limit_and_never_when_nothing_was_measured(check: Check, holds: bool) -> None:
    assert check.holds is holds


def test_a_line_says_verdict_figures_bars_seed_and_when_the_faults_struck() -> None:
    line = describe_fault(trial(check=NOT_KEPT, notes=["lost: q1x"]))
    assert line.startswith(
        "FAIL kills, xmlrpc: taken over, p99 3.5 s (<= 2 s) BROKEN, lost 0, kills 2; seed 7"
    )
    assert "faults at 0.5, 0.7 s" in line
    assert line.endswith("lost: q1x")
    assert describe_fault(trial()).startswith("PASS")


def test_what_was_not_measured_is_said() -> None:
    assert check_words(Check("recovered", None, 3.0, "s")) == "recovered not measured (<= 3 s) BROKEN"


def test_each_middleware_has_a_sentence_with_what_it_did_not_keep() -> None:
    said = list(sentences([trial(), trial("frozen", check=NOT_KEPT), trial("kills", "rabbitmq")]))
    assert said[0].startswith(
        "XML-RPC tuned kept its promise in 1 of 2 scenarios of faults, not under: frozen."
    )
    assert "Of 2,000 acknowledged requests 0 were lost." in said[0]
    assert said[1].startswith("RabbitMQ tuned kept its promise in 1 of 1")


def test_a_run_with_faults_is_written_read_drawn_and_reported(tmp_path: Path) -> None:
    run = run_of(faults=[trial(), trial("kills", "pyro4", NOT_KEPT), trial("bombs", timeline=Timeline())])
    assert read_run(write_run(run, tmp_path)) == run
    assert [path.name for path in draw(run, tmp_path / "plots")] == ["faults-kills.png"]
    print_table(run)
    page = write_report(run, tmp_path).read_text(encoding="utf-8")
    assert '<h2 id="faults">Faults</h2>' in page
    assert '<td class="harm invalid">late</td>' in page
    assert "Pyro4 tuned kept its promise in 0 of 1" in page
    assert page.count("data:image/svg+xml") == 1


def test_the_page_says_what_each_scenario_breaks_and_what_its_words_mean(tmp_path: Path) -> None:
    frozen = Check("not moved while it was frozen", 2, 0)
    run = run_of(
        faults=[trial(), trial("frozen", "xmlrpc:stock", frozen, figures={"answered, %": 55.0})],
        configuration={"scenarios": {name: SCENARIOS[name].promise for name in ("kills", "frozen")}},
        experiment="faults",
    )
    page = Page(write_report(run, tmp_path).read_text(encoding="utf-8"))
    for name in ("kills", "frozen"):
        assert f"<b>{name}</b>: {SCENARIOS[name].promise}</td>" in page.text
    assert ">stuck 2<br>refused 45 %</td>" in page.text
    meanings = dict(zip(page.of("dt"), page.of("dd"), strict=True))
    assert meanings["stuck"] == MEANINGS["stuck"]
    assert meanings["applied"] == LEDGER["applied"]
    assert "hung" not in meanings, "nothing hung"


def test_each_word_of_the_table_has_a_meaning() -> None:
    assert {*HARMS.values(), "ok", "late", "failed"} == set(MEANINGS)


def test_a_kept_promise_beside_refused_requests_shows_both() -> None:
    assert harms(trial(figures={"answered, %": 54.6})) == ["ok", "refused 45 %"]
    assert harms(trial(figures={"answered, %": 99.5})) == ["ok"]


def test_the_table_has_a_line_per_scenario_and_a_column_per_middleware_tried() -> None:
    table = fault_table([trial(), trial("kills", "redis_impl"), trial("frozen")])
    assert [column.header for column in table.columns] == ["scenario", "XML-RPC\ntuned", "Redis\ntuned"]
    assert table.row_count == 2


def stock_trial(**more: Any) -> FaultTrial:
    """Return a trial of a stock variant that lost three requests, doubled two, and let a client hang."""
    checks = [Check("lost", 3, 0), Check("effects twice", 2, 0), Check("slowest call", 9.0, 6.0, "s")]
    return replace(trial("kills", "xmlrpc:stock", **more), checks=checks)


def test_what_a_stock_variant_loses_is_a_result_and_no_failure() -> None:
    assert harms(stock_trial()) == ["lost 3", "doubled 2", "hung"]
    half = replace(stock_trial(), checks=[Check("answered", 48.0, 99.0, "%", is_least=True)])
    assert harms(half) == ["refused 52 %"]
    assert describe_fault(stock_trial()).startswith("RESULT kills, xmlrpc:stock: lost 3 BROKEN")
    assert next(sentences([stock_trial()])).startswith("XML-RPC stock kept what tuned promises in 0 of 1")


def test_the_table_of_all_variants_fits_a_hundred_columns() -> None:
    trials = [trial(name, variant) for name in SCENARIOS for variant in VARIANTS]
    output = Console(width=200, file=StringIO())
    output.print(fault_table([*trials, stock_trial()]))
    lines = cast(StringIO, output.file).getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 100
    row = next(line for line in lines if line.startswith(" kills"))
    assert row.split() == ["kills", "lost", "3", *7 * ["ok"]]


def test_faults_that_were_measured_beside_a_run_stand_in_its_report(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("20260101T000000Z-faults", "20260101T000100Z-run")]
    for folder in folders:
        folder.mkdir()
    write_run(run_of(faults=[stock_trial()], experiment="faults"), folders[0])
    page = write_report(run_of(), folders[1]).read_text(encoding="utf-8")
    assert '<td class="harm">lost 3<br>doubled 2<br>hung</td>' in page


def test_without_faults_nothing_is_said_of_them(tmp_path: Path) -> None:
    page = write_report(run_of(), tmp_path).read_text(encoding="utf-8")
    assert "Faults" not in page


@pytest.mark.parametrize(("times_as_long", "is_told"), [(1.0, False), (4.0, True)])
def test_malformed_input_that_makes_a_node_slower_is_told_and_chance_is_not(
    times_as_long: float, is_told: bool
) -> None:
    chance = random.Random(1)
    entries = []
    for number in range(2000):
        planned = number * 5_000_000
        slower = times_as_long if window_at(planned, 0) is Bad.TO_THE_NODE else 1.0
        done = planned + int(chance.expovariate(1e-6) * slower)
        entries.append(Entry("q", Operation.INSULT_ME, planned, planned, done, Outcome.ACKNOWLEDGED))
    p99s, ratio = compared(entries, 0)
    assert set(p99s) == set(Bad)
    assert ratio is not None
    assert (ratio[0] > SLOWER_AT_MOST) is is_told
    assert ratio[0] < times_as_long < ratio[1]
