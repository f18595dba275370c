"""Cost as work grows: curves, their bar, lateness of ticks, plots of known data, and small real runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.experiment import growth
from harness.experiment.bench import Bench
from harness.experiment.growth import STUDIES, turning
from harness.experiment.subscribers import Configuration, Delivery, lateness
from harness.load.workload import Workload
from harness.record.findings import MILLISECONDS, NO_MIDDLEWARE, Curve, Judgement, Size, missed
from harness.record.journal import write_run
from harness.record.run import Run
from harness.report.plots.findings import growth_figure
from lab.process.system import BrokerUrls
from tests import report
from tests.growth import main

FLAT = Curve(
    "insults",
    "xmlrpc",
    "insult_me",
    "in memory",
    sizes=[
        Size(10, [1000.0, 1010.0, 990.0], {"node": 30.0, "harness": 50.0}),
        Size(1_000_000, [960.0, 970.0, 950.0], {"node": 300.0, "harness": 50.0}),
    ],
    bar=0.9,
)
STEEP = Curve(
    "insults",
    "pyro4",
    "insult_me",
    "in memory",
    sizes=[Size(10, [1000.0, 1010.0, 990.0]), Size(1_000_000, [500.0, 510.0, 500.0], {}, ["not stationary"])],
    bar=0.9,
)
SHORT = Curve(
    "requests", NO_MIDDLEWARE, "against nothing", sizes=[Size(1_000, [9.0], {}, ["too short: 9 requests"])]
)
TICKS = Curve("subscribers", "redis_impl", "a tick", unit=MILLISECONDS, sizes=[Size(1, [0.0, 1.0, 2.0])])


def test_a_flat_curve_reaches_its_bar() -> None:
    finding = FLAT.finding
    assert finding.verdict is Judgement.REACHED
    assert finding.median == pytest.approx(0.96, abs=0.001)
    assert "insult_me, insults in memory, 1,000,000 against 10" in finding.what


def test_an_invalid_end_is_no_pass_and_no_miss() -> None:
    assert STEEP.finding.verdict is Judgement.INVALID


def test_a_curve_counts_as_missed_only_where_the_whole_interval_lies_below_its_bar() -> None:
    noisy = Curve(
        "insults", "xmlrpc", "a", sizes=[Size(10, [9.0, 9.0, 9.0]), Size(99, [7.0, 8.0, 9.0])], bar=0.9
    )
    steep = Curve(
        "insults", "xmlrpc", "b", sizes=[Size(10, [9.0, 9.0, 9.0]), Size(99, [5.0, 5.0, 5.1])], bar=0.9
    )
    assert missed([FLAT, noisy, steep, TICKS]) == [steep]


def test_a_curve_of_one_size_says_why_there_is_no_more() -> None:
    curve = Curve("insults", "xmlrpc", "insult_me", sizes=FLAT.sizes[:1], bar=0.9, missing="full disk")
    assert curve.finding.missing == "full disk"


def test_what_is_too_short_is_hollow_and_not_invalid() -> None:
    [size] = SHORT.sizes
    assert size.is_short
    assert size.is_valid
    assert not STEEP.sizes[1].is_valid


def test_windows_turn() -> None:
    assert list(turning([1, 2, 3], 2)) == [1, 2, 3, 3, 2, 1]


def test_lateness_counts_from_the_most_punctual_tick() -> None:
    heard = {
        7: Delivery(first=100.0, last=100.5, count=2),
        8: Delivery(first=102.1, last=102.2, count=2),
        9: Delivery(first=104.3, last=105.0, count=2),
    }
    assert lateness(heard, 2.0) == pytest.approx([500.0, 200.0, 1000.0])


def test_every_study_grows_as_far_as_it_should() -> None:
    ends = {name: study.full[-1] for name, study in STUDIES.items()}
    assert ends == {
        "insults": 1_000_000,
        "subscribers": 1_000,
        "clients": 256,
        "nodes": 16,
        "requests": 10_000_000,
    }
    for study in STUDIES.values():
        assert list(study.full) == sorted(study.full)
        assert set(study.quick) <= set(study.full)


def test_the_plot_shows_shares_of_the_fewest_the_bar_and_what_is_invalid(tmp_path: Path) -> None:
    figure = growth_figure("insults", [FLAT, STEEP, TICKS])
    assert figure
    values = figure.axes[0]
    assert values.get_title() == "insult_me, insults in memory"
    lines = {str(line.get_label()): line for line in values.get_lines()}
    assert np.asarray(lines["XML-RPC"].get_ydata()).tolist() == pytest.approx([1.0, 0.96], abs=0.001)
    assert np.asarray(lines["bar: 0.9 x"].get_ydata()).tolist() == [0.9, 0.9]
    assert any(line.get_marker() == "x" for line in values.get_lines())
    assert figure.axes[1].get_title() == "memory of nodes"
    assert growth_figure("nodes", [FLAT]) is None


@pytest.mark.parametrize(("last", "scale"), [(900.0, "linear"), (90.0, "log")])
def test_rates_that_hardly_differ_are_drawn_from_zero(last: float, scale: str) -> None:
    curve = Curve("clients", "xmlrpc", "filter", sizes=[Size(1, [1000.0]), Size(256, [last])])
    figure = growth_figure("clients", [curve])
    assert figure
    rates = figure.axes[0]
    assert rates.get_yscale() == scale
    assert (rates.get_ylim()[0] > 0) == (scale == "log")


def test_a_run_is_drawn_again_from_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Run("growth", {}, {}, curves=[FLAT, STEEP]), tmp_path)
    assert report.main([str(tmp_path)]) == 0
    assert [path.name for path in (tmp_path / "plots").glob("*.png")] == ["growth-insults.png"]
    said = capsys.readouterr().out
    assert "REACHED   insults: XML-RPC" in said
    assert "INVALID   insults: Pyro4" in said


def test_the_command_measures_one_middleware_to_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--middleware", "xmlrpc", "--only", "subscribers", "--windows", "1", "--json", "--results"]
    assert main([*options, str(tmp_path)]) == 0
    [curve] = json.loads(capsys.readouterr().out)["curves"]
    assert [one["size"] for one in curve["sizes"]] == [1, 10, 100]
    assert not any(said for one in curve["sizes"] for said in one["objections"])
    assert curve["sizes"][-1]["values"][0] > 0
    assert curve["sizes"][-1]["memory_mib"]["node"] > 1
    assert (tmp_path / "latest" / "plots" / "growth-subscribers.svg").exists()


def test_all_that_can_grow_grows_in_a_real_system(redis_url: str) -> None:
    bench = Bench(BrokerUrls(redis=redis_url), Workload())
    two = Configuration(bench, (1, 2), windows=1, seconds=0.3)
    curves = [*growth.insults("xmlrpc", two), *growth.nodes("xmlrpc", two), *growth.clients("xmlrpc", two)]
    assert [curve.place for curve in curves] == ["in Redis"] * 2 + ["in memory"] * 2 + ["", ""]
    for curve in curves:
        assert [one.size for one in curve.sizes] == [1, 2]
        assert all(one.median > 0 and one.memory_mib["node"] > 1 for one in curve.sizes)


def test_requests_that_would_take_too_long_are_left_out() -> None:
    sizes = (100, 1_000, 10**9)
    [requests] = growth.requests("xmlrpc", Configuration(Bench(BrokerUrls(), Workload()), sizes, 1, 0.3))
    assert [one.size for one in requests.sizes] == [100, 1_000]
    assert "1,000,000,000 requests take over" in requests.missing
    assert requests.sizes[-1].memory_mib["harness"] > 1


def test_the_harness_alone_is_measured_in_a_program_of_its_own() -> None:
    [curve] = growth.harness_alone([1_000])
    assert curve.label == "the harness alone"
    assert curve.sizes[0].memory_mib["harness"] > 1
