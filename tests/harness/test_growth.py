"""Cost as work grows: curves of points, lateness of ticks, plots of known data, and small real runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.growth import MILLISECONDS, STUDIES, Curve, Size, curves
from harness.experiment.bench import Bench
from harness.experiment.command import shipped
from harness.experiment.definition import Filling, Part
from harness.experiment.document import read_experiment
from harness.experiment.runner import measured
from harness.experiment.subscribers import Delivery, lateness
from harness.load.workload import Workload
from harness.record.findings import Finding
from harness.record.journal import write_run
from harness.record.measurement import Usage
from harness.record.run import Point, Run
from harness.report.plots.findings import growth_figure
from lab.process.system import BrokerUrls
from tests import report
from tests.harness.runs import point

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
TICKS = Curve("subscribers", "redis_impl", "a tick", unit=MILLISECONDS, sizes=[Size(1, [0.0, 1.0, 2.0])])


def parts(study: str, *, is_full: bool = False, load: Any = None, **fields: object) -> list[Part]:
    """Return what `lab growth --only STUDY` measures of one middleware."""
    given = Filling(load or {}, fields, ["xmlrpc"], [study], is_full)
    return [part for part in read_experiment(shipped("growth"), given).parts if part.sides]


def grown(found: list[Part], urls: BrokerUrls) -> list[Curve]:
    """Measure *found*; return the curves."""
    bench = Bench(urls, Workload())
    points = [one for part in found for one in measured(bench, [part]) if isinstance(one, Point)]
    return curves(Run("growth", {}, {}, points=points))


def stored(insults: int, throughput: float, **changes: Any) -> Point:
    """Return a window of a service with so many insults."""
    factors = {"operation": "insult_me", "insults": str(insults)}
    usage = Usage(rss_mib={"node": 30.0})
    return replace(point("insults", throughput=throughput), factors=factors, usage=usage, **changes)


def test_points_become_curves_by_what_grew_with_their_bar_and_what_speaks_against_them() -> None:
    points = [stored(insults, rate) for rate in (100.0, 102.0) for insults in (1000, 10)]
    points += [stored(99, 1.0, objections=["not stationary"]), stored(5, 9.0, nodes=3, architecture="n-node")]
    findings = [Finding("insults", "a", [1.0], bar=0.95)]
    memory, redis = curves(Run("growth", {}, {}, points=points, findings=findings))
    assert (memory.title, redis.title) == ("insult_me, insults in memory", "insult_me, insults in Redis")
    assert [(one.size, one.values) for one in memory.sizes] == [
        (10, [100.0, 102.0]),
        (99, [1.0]),
        (1000, [100.0, 102.0]),
    ]
    assert (memory.bar, memory.sizes[0].memory_mib) == (0.95, {"node": 30.0})
    assert not memory.sizes[1].is_valid
    assert curves(Run("stress", {}, {}, points=points)) == []


def test_what_is_too_short_is_hollow_and_not_invalid() -> None:
    short = Size(1_000, [9.0], {}, ["too short: 9 requests"])
    assert short.is_short
    assert short.is_valid
    assert not STEEP.sizes[1].is_valid


def test_lateness_counts_from_the_most_punctual_tick() -> None:
    heard = {
        7: Delivery(first=100.0, last=100.5, count=2),
        8: Delivery(first=102.1, last=102.2, count=2),
        9: Delivery(first=104.3, last=105.0, count=2),
    }
    assert lateness(heard, 2.0) == pytest.approx([500.0, 200.0, 1000.0])


def test_every_study_grows_as_far_as_it_should() -> None:
    ends = {}
    for study in STUDIES:
        few, many = (
            [*part.ramp] or [int(dict(side.factors)[study]) for side in part.sides]
            for part in (parts(study, is_full=is_full)[0] for is_full in (False, True))
        )
        assert set(few) <= set(many)
        ends[study] = max(many)
    assert ends == {
        "insults": 1_000_000,
        "subscribers": 1_000,
        "clients": 256,
        "nodes": 16,
        "requests made": 1_000_000,
    }


def test_the_plot_shows_shares_of_the_fewest_the_bar_and_what_is_invalid(tmp_path: Path) -> None:
    figure = growth_figure("insults", [FLAT, STEEP, TICKS])
    assert figure
    values = figure.axes[0]
    assert values.get_title() == "insult_me, insults in memory"
    lines = {str(line.get_label()): line for line in values.get_lines()}
    assert np.asarray(lines["XML-RPC"].get_ydata()).tolist() == pytest.approx([1.0, 0.96], abs=0.001)
    assert np.asarray(lines["threshold: 0.9 x"].get_ydata()).tolist() == [0.9, 0.9]
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
    points = [stored(10, 100.0), stored(1000, 50.0, objections=["not stationary"])]
    write_run(Run("growth", {}, {}, points=points), tmp_path)
    assert report.main([str(tmp_path)]) == 0
    assert "growth-insults.png" in [path.name for path in (tmp_path / "plots").glob("*.png")]
    assert "INVALID   insults: XML-RPC" in capsys.readouterr().out


def test_all_that_can_grow_grows_in_a_real_system(redis_url: str) -> None:
    load = {"insults": ["1", "2"], "subscribers": ["1", "5"], "clients": ["1", "2"], "nodes": ["1", "2"]}
    found: list[Part] = []
    for study, sizes in load.items():
        window = "3s" if study == "subscribers" else "200ms"
        found += parts(study, load={study: sizes}, blocks="1", window=window)
    all_of_them = grown(found, BrokerUrls(redis=redis_url))
    assert [curve.place for curve in all_of_them if curve.place] == ["in Redis"] * 2 + ["in memory"] * 2
    assert [curve.study for curve in all_of_them] == ["insults"] * 4 + ["subscribers", "clients", "nodes"]
    for curve in all_of_them:
        assert [str(one.size) for one in curve.sizes] == load[curve.study]
        for size in curve.sizes:
            assert size.median > 0
            assert min(size.memory_mib[name] for name in ("node", "harness")) > 1


def test_requests_are_made_until_a_window_is_long_enough() -> None:
    [part] = parts("requests made", window="300ms")
    points = [one for one in measured(Bench(BrokerUrls(), Workload()), [part]) if isinstance(one, Point)]
    *short, last = [one.measurement.seconds for one in points]
    assert max(short, default=0.0) < part.window_seconds
    assert last >= part.window_seconds or len(points) == len(part.ramp)
    [curve] = curves(Run("growth", {}, {}, points=points))
    assert [one.size for one in curve.sizes] == [*part.ramp][: len(points)]
    assert curve.sizes[-1].memory_mib["harness"] > 1
