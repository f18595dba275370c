"""What each setting costs: the table, the correction for many tests, the plot, and real systems."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiment.bench import Bench
from harness.experiment.changed_code import CHANGES
from harness.experiment.command import shipped
from harness.experiment.definition import Filling, Part
from harness.experiment.document import read_experiment
from harness.experiment.runner import measured
from harness.load.workload import Workload
from harness.record.findings import Change, Finding, corrected
from harness.record.journal import read_run, write_run
from harness.record.run import Point
from harness.report.findings import finding_lines
from harness.report.plots import draw
from harness.statistics import Verdict
from lab.errors import InvalidRequest
from lab.process.system import BrokerUrls
from lab.settings import Settings
from pyro4.tuned.server import SERVER_TYPES
from rabbitmq.insult_filter import PREFETCH
from redis_impl.insult_filter import BATCH
from tests.harness.runs import run_of


def parts(*only: str, **fields: object) -> Sequence[Part]:
    """Return what `lab settings --only` measures."""
    return read_experiment(shipped("settings"), Filling(fields=fields, only=only)).parts


def cost(value: str, ratios: Sequence[float], promise: str = "") -> Finding:
    """Return what a change of a setting shows where the default comes from itself by 1 %."""
    usual, again = [100.0] * len(ratios), [101.0, 99.0, 100.0, 99.5, 100.5][: len(ratios)]
    change = Change("rabbitmq", "prefetch", value, "200", promise)
    rates = {"200": usual, value: [100 * ratio for ratio in ratios]}
    return Finding("settings", change.what, ratios, rates=rates, again=again, change=change)


def test_a_change_changes_one_thing_and_stands_once() -> None:
    changes = [change.names for part in parts() for change in part.changes]
    assert len(set(changes)) == len(changes)
    for part in parts():
        first = part.sides[0]
        for side in part.sides[1:]:
            plain = replace(side, label=first.label, factors=first.factors)
            changed = [name for name in plain.__slots__ if getattr(plain, name) != getattr(first, name)]
            assert len(changed) == 1, side
            assert {one for one in side.changes if "=" in one} <= set(CHANGES)
        assert all(
            one.promise.startswith(("weaker guarantee: ", "stronger guarantee: "))
            for one in part.changes
            if one.promise
        )


def test_the_defaults_in_the_table_are_those_of_the_code() -> None:
    defaults = {change.names[1]: change.default for part in parts() for change in part.changes}
    assert defaults["rabbitmq:prefetch"] == str(PREFETCH)
    assert defaults["redis_impl:batch"] == str(BATCH)
    assert defaults["pyro4:server type"] == SERVER_TYPES[0]
    assert defaults["pyro4:serializer"] == Settings().pyro_serializer
    assert defaults["rabbitmq:queue type"] == Settings().queue_type


def test_only_names_middlewares_settings_and_values() -> None:
    found = {
        change.names[2] for part in parts("rabbitmq:prefetch", "pyro4:batch=10") for change in part.changes
    }
    assert found == {"pyro4:batch=10", *(f"rabbitmq:prefetch={value}" for value in (1, 10, 100, 1000))}
    for wrong in ("corba", "rabbitmq:colour", "rabbitmq:prefetch=7", "", ":prefetch"):
        with pytest.raises(InvalidRequest, match=r"--only: .*; possible is"):
            parts(wrong)


def test_a_change_among_many_needs_a_smaller_chance_than_a_change_alone() -> None:
    slower = cost("1", [0.5, 0.54, 0.46])
    [alone] = corrected([slower])
    assert alone.verdict is Verdict.SLOWER
    others = [cost(str(value), [1.0, 1.2, 0.85]) for value in range(2, 40)]
    assert corrected([slower, *others])[0].verdict is Verdict.UNDECIDED
    clear = cost("1", [0.5, 0.51, 0.5, 0.49, 0.5])
    first, *rest = corrected(corrected([clear, *others]))  # a report that is made again says the same
    assert first.verdict is Verdict.SLOWER
    assert {one.verdict for one in rest} == {Verdict.UNDECIDED}


def test_the_tornado_is_sorted_labelled_and_marks_what_is_invalid_or_promises_less(tmp_path: Path) -> None:
    findings = [
        cost("100", [1.01, 0.99, 1.0]),
        cost("1", [0.5, 0.52, 0.48]),
        cost("1000", [3.0, 3.1, 3.05], "weaker guarantee: nobody notices"),
        cost("10", [1.0]),
    ]
    run = run_of(experiment="settings", findings=findings)
    files = draw(run, tmp_path / "plots")
    assert [file.name for file in files] == ["tornado-rabbitmq.png"]
    svg = files[0].with_suffix(".svg").read_text(encoding="utf-8")
    said = [line.strip(" <!->") for line in svg.splitlines() if line.strip().startswith("<!--")]
    rows = [line.split("  ")[0] for line in said if "(default" in line]
    assert rows == [f"prefetch {value}" for value in (1000, 1, 100, 10)]
    assert "weaker guarantee" in said
    assert any(line.startswith("0.50 [0.4") for line in said)
    assert any("INVALID: too few valid blocks" in line for line in said)
    again = read_run(write_run(run, tmp_path))
    assert [finding_lines(one) for one in again.findings] == [finding_lines(one) for one in findings]


@pytest.mark.parametrize(
    "only",
    [
        "xmlrpc:keep-alive",
        "pyro4:server type",
        "redis_impl:batch=10",
        "redis_impl:guarantee",
        "rabbitmq:confirms",
    ],
)
def test_a_change_is_applied_and_answered_rightly(only: str, redis_url: str, amqp_url: str) -> None:
    [part] = parts(only, blocks="1", window="100ms")
    points = [
        one
        for one in measured(Bench(BrokerUrls(redis=redis_url, amqp=amqp_url), Workload()), [part])
        if isinstance(one, Point)
    ]
    assert len(points) == len(part.sides) + 1
    for point in points:
        assert point.throughput, point.objections
