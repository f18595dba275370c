"""What each setting costs: the table, what may be concluded, and the plot."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiment.changed_code import CHANGES
from harness.experiment.settings import DEFAULTS, SETTINGS, Setting, changes, texts
from harness.record.findings import SAME, Cost, noise_of
from harness.record.journal import read_run, write_run
from harness.record.run import Run
from harness.report.findings import cost_lines
from harness.report.plots import draw
from harness.statistics import Verdict
from lab.applications.censor import Censor
from lab.data import default_insults
from lab.errors import InvalidRequest
from lab.limits import MAX_TEXT_BYTES
from lab.settings import Settings
from pyro4.tuned.server import SERVER_TYPES
from rabbitmq.insult_filter import PREFETCH
from redis_impl.insult_filter import BATCH

VALID = Cost("rabbitmq", "prefetch", "1", "200", "", (100.0, 100.0, 100.0), (50.0, 52.0, 48.0), 1.1)


def setting(middleware: str, name: str) -> Setting:
    """Return a line of the table."""
    return next(one for one in SETTINGS if (one.middleware, one.name) == (middleware, name))


def test_a_setting_stands_once_and_its_default_is_no_change() -> None:
    keys = [(one.middleware, one.name) for one in SETTINGS]
    assert len(set(keys)) == len(keys)
    for one in SETTINGS:
        assert one.default not in one.values
        assert set(one.promises) <= set(one.values)
        assert all(
            text.startswith(("weaker guarantee: ", "stronger guarantee: ")) for text in one.promises.values()
        )


@pytest.mark.parametrize("change", changes(), ids=lambda one: f"{one.setting.name} {one.value}")
def test_a_change_changes_one_thing(change: object) -> None:
    usual, changed = change.sides  # type: ignore[attr-defined]
    fields = usual.__slots__
    assert len([name for name in fields if getattr(usual, name) != getattr(changed, name)]) == 1
    if changed.variant:
        assert "=".join(changed.variant) in CHANGES


def test_the_defaults_in_the_table_are_those_of_the_code() -> None:
    assert setting("rabbitmq", "prefetch").default == str(PREFETCH)
    assert setting("redis_impl", "batch").default == str(BATCH)
    assert setting("redis_impl", "in flight").default == str(DEFAULTS["redis_impl"].in_flight)
    assert setting("pyro4", "server type").default == SERVER_TYPES[0]
    assert setting("pyro4", "serializer").default == Settings().pyro_serializer
    assert setting("rabbitmq", "queue type").default == Settings().queue_type


@pytest.mark.parametrize("length", [16, 64, 1024, MAX_TEXT_BYTES])
def test_texts_have_their_length_and_the_known_answer(length: int) -> None:
    text, filtered = texts(length)
    assert len(text.encode()) == length
    assert Censor(list(default_insults())).censor(text) == filtered


def test_only_names_middlewares_settings_and_values() -> None:
    assert changes("rabbitmq, redis_impl:appendonly=off") == [
        one
        for one in changes()
        if one.setting.middleware == "rabbitmq" or (one.setting.name, one.value) == ("appendonly", "off")
    ]
    for wrong in ("corba", "rabbitmq:colour", "rabbitmq:prefetch=7", ",", ":prefetch"):
        with pytest.raises(InvalidRequest):
            changes(wrong)


def test_a_cost_is_concluded_from_its_interval_and_the_noise() -> None:
    assert VALID.verdict is Verdict.SLOWER
    assert replace(VALID, noise=2.5).verdict is Verdict.UNDECIDED
    assert replace(VALID, rates=(40.0, 100.0, 190.0)).verdict is Verdict.UNDECIDED
    assert replace(VALID, rates=(210.0, 200.0, 205.0)).verdict is Verdict.FASTER


def test_nothing_is_concluded_from_what_is_invalid_or_too_little() -> None:
    assert replace(VALID, objections=["client-bound"]).verdict is None
    few = replace(VALID, usual_rates=(100.0,), rates=(50.0,))
    assert few.verdict is None
    assert "fewer than 3 pairs" in "\n".join(cost_lines(few))
    assert replace(VALID, usual_rates=(), rates=(), missing="no rabbitmq here").verdict is None


def test_noise_is_the_farthest_that_the_default_came_from_itself() -> None:
    same = Cost("rabbitmq", SAME, usual_rates=(100.0, 100.0, 100.0), rates=(110.0, 80.0, 100.0))
    assert noise_of(same) == pytest.approx(1.25)
    assert noise_of(replace(same, objections=["a client ended"])) is None


def known() -> Run:
    """Return a run with a change of every kind."""
    weaker = replace(VALID, setting="confirms", value="none", promise="weaker guarantee: nobody notices")
    return Run(
        "settings",
        {"seconds": 1.0, "pairs": 3, "clients": 4, "loads": {"rabbitmq": "4 clients"}},
        {"load_before": 0.1},
        costs=[
            Cost("rabbitmq", SAME, usual_rates=(1.0, 1.0, 1.0), rates=(1.0, 1.1, 1.0), noise=1.1),
            replace(VALID, value="100", rates=(101.0, 99.0, 100.0)),
            VALID,
            replace(weaker, rates=(300.0, 310.0, 305.0)),
            replace(VALID, value="10", rates=(1.0, 1.0, 1.0), objections=["changed: client-bound"]),
            replace(VALID, value="1000", usual_rates=(), rates=(), objections=["a client ended"]),
            Cost("xmlrpc", SAME, missing="nothing"),
        ],
    )


def test_the_tornado_is_sorted_labelled_and_marks_what_is_invalid_or_promises_less(tmp_path: Path) -> None:
    files = draw(known(), tmp_path / "plots")
    assert [file.name for file in files] == ["tornado-rabbitmq.png"]
    assert files[0].stat().st_size > 10_000
    svg = files[0].with_suffix(".svg").read_text(encoding="utf-8")
    said = [line.strip(" <!->") for line in svg.splitlines() if line.strip().startswith("<!--")]
    rows = [line for line in said if "(default" in line]
    assert [row.split("  ")[0] for row in rows] == [
        "confirms none",
        "prefetch 1",
        "prefetch 100",
        "prefetch 10",
        "prefetch 1000",
    ]
    assert "weaker guarantee" in said
    assert "0.50 [0.45, 0.55]" in said
    assert "0.010 INVALID" in said
    assert any("INVALID: it failed" in line for line in said)


def test_nothing_measured_draws_nothing(tmp_path: Path) -> None:
    assert draw(replace(known(), costs=[]), tmp_path / "plots") == []


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    again = read_run(write_run(known(), tmp_path))
    assert cost_lines(again.costs[2]) == cost_lines(known().costs[2])
    assert [cost.verdict for cost in again.costs] == [cost.verdict for cost in known().costs]
