"""The sentences of the report on runs whose truth is known: they change with it, and say no more."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.record.run import Guarantee, Point, Run
from harness.report.conclusions import answers, caveats, conclusions
from harness.report.plots.stress import comparison
from harness.report.table import print_table
from harness.statistics import EQUIVALENT
from lab.middleware import MIDDLEWARES, VARIANTS
from tests.harness.runs import RATES, full_run, observed_trial, point, run_of, speedup_points, window
from tests.harness.test_report import NOTHING, Page, page_of

BLOCKS = (1, 2, 3)
WOBBLE = {1: 1.0, 2: 1.01, 3: 0.99}
INVALID = ["steal time: other guests of this hardware had 9.0% of its cores"]


def measured(rate_of: Callable[[str, int], float], study: str = "requests", **changes: Any) -> list[Point]:
    """Return three blocks of all variants at one node and at three, each at the rate that is its truth."""
    return [
        point(study, name, WOBBLE[block] * rate_of(name, nodes), nodes=nodes, block=block, **changes)
        for name in VARIANTS
        for nodes in (1, 3)
        for block in BLOCKS
    ]


def usual(name: str, nodes: int, tuned: float = 3.0, several: float = 1.0) -> float:
    """Return the rate of a variant whose tuned form makes *tuned* times as much, three nodes *several*."""
    stock = RATES[name.partition(":")[0]] / 3
    return stock * (1.0 if ":" in name else tuned) * (several if nodes == 3 else 1.0)


def said(run: Run, part: str) -> list[str]:
    """Return the sentences that hold *part*."""
    return [sentence for sentence in conclusions(run) if part in sentence]


def test_tuned_that_is_three_times_as_fast_is_said_to_be() -> None:
    [sentence] = said(run_of(*measured(usual)), "the rate of stock")
    assert "XML-RPC, one-node 3 x (3 to 3)" in sentence
    assert not said(run_of(*measured(usual)), "the same within 5 %")


def test_tuned_that_equals_stock_is_said_to_make_the_same() -> None:
    run = run_of(*measured(lambda name, nodes: usual(name, nodes, tuned=1.0)))
    [sentence] = said(run, "tuned and stock made the same within 5 %")
    assert all(f"{MIDDLEWARES[name].label}, one-node" in sentence for name in MIDDLEWARES)
    assert not said(run, "the rate of stock")


def test_repetitions_that_contradict_each_other_tell_nothing() -> None:
    sides = {"xmlrpc": [80.0, 130.0, 100.0], "xmlrpc:stock": [100.0, 100.0, 100.0]}
    points = [
        point(middleware=name, throughput=rate, block=block)
        for name, rates in sides.items()
        for block, rate in enumerate(rates, 1)
    ]
    [sentence] = said(run_of(*points), "tuned and stock")
    assert "were not told apart" in sentence


def at_both_guarantees(ratio: float) -> Run:
    """Return Redis with nothing kept at *ratio* times its rate on disk, in the same blocks."""
    return run_of(
        *(
            point(middleware="redis_impl", throughput=rate * WOBBLE[block], block=block, guarantee=str(kept))
            for kept, rate in ((Guarantee.NOTHING, 1000.0 * ratio), (Guarantee.DISK, 1000.0))
            for block in BLOCKS
        )
    )


def test_a_disk_that_costs_nothing_is_said_to_cost_nothing() -> None:
    [sentence] = said(at_both_guarantees(1.0), "disk")
    assert "with and without the disk made the same within 5 %: Redis, one-node 1 x" in sentence


def test_a_disk_that_costs_something_is_said_to_with_its_factor() -> None:
    [sentence] = said(at_both_guarantees(1.8), "What the disk costs")
    assert "Redis, one-node 1.8 x (1.8 to 1.8)" in sentence


def test_a_system_has_a_line_and_a_bar_for_each_guarantee_at_which_it_was_measured(tmp_path: Path) -> None:
    run = at_both_guarantees(1.8)
    cells = page_of(run, tmp_path).of("td")
    lines = [
        cells[place + 1 : place + 3] for place, cell in enumerate(cells) if cell == "Redis tuned, one-node"
    ]
    assert lines[:2] == [["nothing kept", "1,800"], ["on disk", "1,000"]]
    figure = comparison(run)
    assert figure
    load = "one request in flight per client"
    assert [axes.get_title() for axes in figure.axes] == [f"{load}; nothing kept", f"{load}; on disk"]


def test_tuned_and_stock_are_compared_at_each_guarantee_alone() -> None:
    tuned = at_both_guarantees(4.0)
    stock = [replace(one, middleware="redis_impl:stock") for one in at_both_guarantees(2.0).points]
    run = run_of(*tuned.points, *stock)
    assert any("Redis, one-node, nothing kept 2 x" in one for one in said(run, "the rate of stock"))
    assert any("Redis, one-node, on disk 1 x" in one for one in said(run, "the same within 5 %"))


def test_what_the_disk_costs_is_never_said_from_two_middlewares() -> None:
    """XML-RPC keeps nothing and is faster than Redis, which keeps all: that is no price of the disk."""
    run = run_of(*measured(usual))
    assert not said(run, "What the disk costs")
    assert any("What that costs is not measured here." in caveat for caveat in caveats(run))
    assert not any("not measured here" in caveat for caveat in caveats(at_both_guarantees(1.8)))


def test_pairs_of_different_blocks_or_loads_are_no_pairs() -> None:
    run = at_both_guarantees(1.8)
    for change in ({"block": 9}, {"clients": 9}, {"objections": INVALID}):
        points = [replace(one, **change) if one.guarantee == Guarantee.NOTHING else one for one in run.points]
        assert not said(run_of(*points), "disk costs"), change


def test_nodes_without_effect_are_said_to_make_one_times_as_much() -> None:
    flat = [replace(p, measurement=window(150.0 * (1 + p.block / 50))) for p in speedup_points()]
    [sentence] = said(run_of(*flat), "5ms waiting per text")
    assert "1.00 times (1.00 to 1.00 in 3 repetitions) at 3 nodes" in sentence
    assert "linear within" not in sentence
    [linear] = said(run_of(*speedup_points()), "5ms waiting per text")
    assert "3.00 times" in linear
    assert "linear within the repetitions" in linear


def test_who_makes_most_of_three_nodes_is_told_only_if_it_is_shown() -> None:
    slow = [replace(p, measurement=window(0.5 * p.throughput)) for p in speedup_points("rabbitmq")]
    [sentence] = said(run_of(*speedup_points("xmlrpc"), *slow), "If nodes will be added")
    assert "came nearest the work's ideal, 3 x 200/s: 110% of it; RabbitMQ tuned made 55%" in sentence
    [alike] = said(run_of(*speedup_points("xmlrpc"), *speedup_points("rabbitmq")), "If nodes will be added")
    assert "XML-RPC tuned and RabbitMQ tuned were not told apart: 110% to 110% of" in alike
    once = speedup_points("pyro4", blocks=1)
    with_one = said(run_of(*speedup_points("xmlrpc"), *slow, *once), "If nodes will be added")
    assert with_one[0] == sentence, "what was measured once hides no comparison of the others"
    assert "Pyro4 tuned" in with_one[1]


def test_three_nodes_that_make_less_than_one_are_explained_where_they_stand() -> None:
    run = run_of(*measured(lambda name, nodes: usual(name, nodes, several=0.5)))
    [sentence] = said(run, "More nodes made less")
    assert "XML-RPC tuned 2,000/s with 3 nodes, 4,000/s with 1 node" in sentence
    assert not said(run_of(*measured(usual)), "More nodes made less")


def test_what_survives_a_crash_is_asked_of_those_only_that_promise_it() -> None:
    points = measured(lambda name, nodes: 9999.0 if name == "redis_impl:stock" else usual(name, nodes))
    [sentence] = said(run_of(*points), "must survive a crash")
    assert "Redis tuned" in sentence
    assert "Redis stock" not in sentence
    assert "XML-RPC" not in sentence


def test_all_windows_invalid_support_no_sentence(tmp_path: Path) -> None:
    everything = [*full_run().points, *measured(usual), *at_both_guarantees(2.0).points]
    run = run_of(*(replace(one, objections=INVALID) for one in everything))
    assert conclusions(run) == []
    assert page_of(run, tmp_path).of("li")[0] == NOTHING


@pytest.mark.parametrize("first", ["xmlrpc", "rabbitmq"])
def test_the_fastest_is_the_one_that_is(first: str) -> None:
    """Whichever it is: no sentence is made for one middleware."""
    points = measured(lambda name, nodes: 50_000.0 if name == first else usual(name, nodes))
    ranked = said(run_of(*points), "If a caller waits for each answer")
    assert any(f"{MIDDLEWARES[first].label} tuned, 1 node" in one for one in ranked)
    assert any("50,000/s" in one for one in ranked)


def test_each_sentence_leads_to_what_shows_it(tmp_path: Path) -> None:
    run = full_run()
    page = page_of(run, tmp_path)
    evidence = [f"#{answer.evidence}" for answer in answers(run)]
    assert page.links[-len(evidence) :] == evidence, "after those of the contents"
    assert {link[1:] for link in page.links} <= page.ids


def test_the_terminal_says_the_same_as_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(*measured(usual), *speedup_points(), scalings=[observed_trial("adaptive")])
    print_table(run)
    printed = capsys.readouterr().out
    assert all(f"- {sentence}" in printed for sentence in conclusions(run))


def test_nothing_internal_is_shown_and_each_plot_is_described(tmp_path: Path) -> None:
    environment: dict[str, object] = {"cpu_quota": None, "null_rates": {"1": 9}, "is_dirty": True}
    page = page_of(replace(full_run(), environment=environment), tmp_path)
    shown = " ".join(text for tag, text in page.texts if tag != "style")
    for internal in ("None", "null rates", "is dirty", "pipelined", "redis_impl,", "accepted,"):
        assert internal not in shown, internal
    assert all(len(alt) > 40 for alt in page.alts)
    assert EQUIVALENT == 1.05


def test_the_promises_of_each_variant_stand_in_a_matrix(tmp_path: Path) -> None:
    page: Page = page_of(run_of(*measured(usual)), tmp_path)
    assert "an acknowledged request survives the death of its node" in page.of("td")
