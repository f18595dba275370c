"""Plots, tables and report: made whatever a run holds; what they say is what its valid points support."""

import base64
import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.record.journal import write_run
from harness.record.measurement import Usage
from harness.record.run import Point, Run
from harness.report.conclusions import conclusions
from harness.report.formatting import describe, study_titles
from harness.report.page import write_report
from harness.report.plots import PLOTS, draw
from harness.report.table import print_table
from tests.harness.runs import (
    compared,
    full_run,
    lossy,
    observed_trial,
    point,
    run_of,
    speedup_points,
    window,
)

pytestmark = pytest.mark.filterwarnings("error", "ignore:isSet:DeprecationWarning")  # Pyro4's
NO_PERCENTILES = dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9"))
STUDIES = ("requests", "clients", "pipelined", "accepted", "sweep")
ALL_PLOTS = (*PLOTS, "scaling-frontier", "scaling-step", "tornado-rabbitmq")
INVALID = ["too short: 5 requests in 0.01 s"]
NOTHING = "Nothing that was measured here supports a conclusion."
SCRIPT = "<script>alert('&')</script>"


class Page(HTMLParser):
    """What a browser would fetch, and the texts of the elements of each name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.resources: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.alts: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        given = {name: value or "" for name, value in attrs}
        found = [given[name] for name in ("src", "href", "srcset") if name in given]
        self.links += [one for one in found if one.startswith("#")]
        self.resources += [one for one in found if not one.startswith("#")]
        self.ids |= {given["id"]} if "id" in given else set()
        self.alts += [given.get("alt", "")] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        """Return the texts in the elements *tag*."""
        return [text for name, text in self.texts if name == tag]


def page_of(run: Run, folder: Path) -> Page:
    """Draw *run* and write its report and table, as the end of a run does."""
    draw(run, folder / "plots")
    print_table(run)
    return Page(write_report(run, folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run with all kinds of points."""
    folder = tmp_path_factory.mktemp("full")
    page_of(full_run(), folder)
    return folder


@pytest.fixture
def full_page(full_folder: Path) -> Page:
    """Their report."""
    return Page((full_folder / "report.html").read_text(encoding="utf-8"))


def test_a_run_with_all_kinds_of_points_has_every_plot_as_png_and_svg(full_folder: Path) -> None:
    names = {f"{name}.{ending}" for name in ALL_PLOTS for ending in ("png", "svg")}
    assert {path.name for path in (full_folder / "plots").iterdir()} == names
    for name in ALL_PLOTS:
        assert (full_folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (full_folder / "plots" / f"{name}.svg").read_text(encoding="utf-8")[:1000]


def one_of_each(change: Callable[[str], Point]) -> Run:
    """Return a run with one point of each study, as *change* makes it."""
    return run_of(*map(change, STUDIES))


ODD_RUNS = {
    "no points": run_of(),
    "one point": run_of(point()),
    "one middleware": run_of(*map(point, STUDIES), *speedup_points()),
    "one block": run_of(*speedup_points(blocks=1)),
    "only one node": run_of(*(p for p in speedup_points() if p.nodes == 1)),
    "never one node": run_of(*(p for p in speedup_points() if p.nodes > 1)),
    "n-node alone": run_of(*(point(study, nodes=3) for study in STUDIES)),
    "only invalid points": run_of(
        *(point(study, objections=INVALID) for study in STUDIES), *speedup_points(objections=INVALID)
    ),
    "only lost requests": one_of_each(
        lambda study: point(study, measurement=lossy(lost=3), objections=["of 1,000 requests 3 lost"])
    ),
    "percentiles of none": one_of_each(
        lambda study: point(study, measurement=window(response_ms=NO_PERCENTILES, offered=10.0))
    ),
    "no percentiles": one_of_each(lambda study: point(study, measurement=window(response_ms={}))),
    "nothing done": one_of_each(
        lambda study: point(study, measurement=lossy(lost=1000), objections=["of 1,000 requests 1,000 lost"])
    ),
    "an idle machine": one_of_each(
        lambda study: point(study, usage=Usage(), measurement=window(generator_cpu_seconds=0.0))
    ),
    "an unknown machine": run_of(*speedup_points(), environment={"cores": None, "load_before": None}),
}


SHOW_NOTHING = ("no points", "one point", "only invalid points", "only lost requests")


@pytest.mark.parametrize("name", ODD_RUNS)
def test_the_report_of_an_odd_run_is_written(name: str, tmp_path: Path) -> None:
    page = page_of(ODD_RUNS[name], tmp_path)
    assert page.of("h2")[:2] == ["What it says", "Before you rely on it"]
    if name in SHOW_NOTHING:
        assert page.of("li")[0] == NOTHING
    points = len(ODD_RUNS[name].points)
    assert (f"All {points} windows" in page.text) == bool(points)
    assert "nan" not in " ".join(text for tag, text in page.texts if tag != "style")


def test_the_report_needs_nothing_but_itself(full_page: Page) -> None:
    assert len(full_page.resources) == len(ALL_PLOTS)
    assert all(resource.startswith("data:image/svg+xml;base64,") for resource in full_page.resources)
    assert not re.search(r"https?://|@import|url\(", full_page.text)


def test_the_plots_in_the_report_fetch_nothing_either(full_page: Page) -> None:
    for resource in full_page.resources:
        plot = base64.b64decode(resource.partition(",")[2]).decode()
        assert not re.search(r"href=\"(?!#)|<script|<image|@import|url\((?!#)", plot)


def test_conclusions_come_first_then_caveats_then_plots_then_the_method(full_page: Page) -> None:
    assert full_page.of("h2") == [
        "What it says",
        "Before you rely on it",
        "Throughput and response time",
        "What they promise",
        "Tuned over stock",
        "The library on the path",
        "Speedup",
        "Capacity",
        "Dynamic scaling",
        "What was found",
        "Plots",
        "How it was measured",
    ]


def test_the_heading_is_the_question_of_the_run(tmp_path: Path) -> None:
    asked = run_of(point(), experiment="mine", configuration={"question": "What does prefetch cost?"})
    for run, heading in (
        (asked, "What does prefetch cost?"),
        (run_of(point(), configuration={"workload": "filter"}), "Which middleware?"),
        (run_of(scalings=[observed_trial("adaptive")]), "Which scaling policy?"),
    ):
        page = page_of(run, tmp_path)
        assert page.of("h1") == [heading]
        assert page.of("title")[0].startswith(heading)
        assert not any(text.endswith(". .") for text in page.of("p"))


def test_the_environment_is_written_for_people(tmp_path: Path) -> None:
    facts = {"memory_gib": 23.5, "load_before": 1.47705, "null_rates": {"1": 991512}, "commit": "abc123"}
    page = page_of(run_of(point(), environment={**facts, "is_dirty": True}), tmp_path)
    said = dict(zip(page.of("dt"), page.of("dd"), strict=False))
    assert said["memory"] == "23.5 GiB"
    assert said["load before (processes that want a core)"] == "1.5"
    assert said["load generators alone, against nothing"] == "1 in flight 991,512/s"
    assert "CAUTION: changes were not committed: what was measured is more than commit abc123." in page.of(
        "li"
    )


def test_what_more_nodes_made_is_told_as_measured_where_nothing_was_expected(tmp_path: Path) -> None:
    points = [
        point(
            study, throughput=100.0 * nodes + block, nodes=nodes, block=block, factors={"nodes": str(nodes)}
        )
        for block in (1, 2, 3)
        for nodes in (3, 1)
        for study in ("over", "speedup")
    ]
    said = "XML-RPC tuned, as measured: 1 node 102/s; 3 nodes 302/s, 3 x (2.9 to 3) in 3 blocks."
    page = page_of(run_of(*points[::2]), tmp_path)
    assert any(text.startswith(said) for text in page.of("li"))
    assert "#all-windows" in page.links
    assert conclusions(run_of(*points[1::2])) == [said]  # without declared work there is no ideal
    invalid = [dataclasses.replace(one, objections=INVALID) for one in points[::2] if one.nodes == 3]
    assert conclusions(run_of(*invalid, *(one for one in points[::2] if one.nodes == 1))) == []


def test_invalid_points_are_marked_and_counted(tmp_path: Path) -> None:
    run = run_of(point("pipelined", objections=INVALID), point("pipelined", "pyro4"))
    page = page_of(run, tmp_path)
    assert '<td class="invalid">1,000, invalid</td>' in page.text
    assert '<tr class="invalid">' in page.text
    assert INVALID[0] in page.of("td")
    assert any(caveat.startswith("1 of 2 windows are marked invalid") for caveat in page.of("li"))


def test_batches_are_never_called_in_flight_nor_ranked_with_what_is(tmp_path: Path) -> None:
    batched = point("pipelined", "xmlrpc", 9000.0, batch=50)
    alone = point("pipelined", "pyro4", 1000.0, in_flight=50)
    run = run_of(batched, alone, point("pipelined", "redis_impl", in_flight=50))
    assert "4 clients, batches of 50: " in describe(batched)
    assert "4 clients x 50 in flight: " in describe(alone)
    assert study_titles(run) == {"pipelined": "50 in flight"}
    page = page_of(run, tmp_path)
    assert "4 clients, batches of 50" in page.of("td")
    assert "9,000" not in " ".join(page.of("td")[: page.of("td").index("4 clients, batches of 50") - 4])
    assert not any("XML-RPC" in said for said in conclusions(run))


def test_a_window_names_its_variant_where_several_are_measured_and_what_its_load_does_not_show() -> None:
    varied = {"middleware": "xmlrpc:stock", "nodes": "3", "text": "1 KiB"}
    assert describe(point(factors=varied, nodes=3)).startswith(
        "XML-RPC stock, text 1 KiB: 3 nodes, 4 clients"
    )
    assert describe(point(factors={"nodes": "1"})).startswith("1 node, 4 clients x 1 in flight: ")


def test_lost_requests_stand_in_red_among_the_caveats(tmp_path: Path) -> None:
    page = page_of(run_of(notes=["LOST: 3 requests", "FAILED requests: gone", "Left out: much"]), tmp_path)
    assert '<li class="invalid">LOST: 3 requests</li>' in page.text
    assert '<li class="invalid">FAILED requests: gone</li>' in page.text
    assert "<li>Left out: much</li>" in page.text


def test_what_others_wrote_is_shown_and_not_run(tmp_path: Path) -> None:
    run = run_of(
        point(objections=[SCRIPT], setting=SCRIPT, work=SCRIPT),
        notes=[SCRIPT, f"`{SCRIPT}`"],
        configuration={"workload": SCRIPT, SCRIPT: [SCRIPT]},
        environment={"processor": SCRIPT, "libraries": {SCRIPT: SCRIPT}},
        experiment=SCRIPT,
    )
    page = page_of(run, tmp_path)
    assert "<script" not in page.text
    assert page.text.count("&lt;script&gt;") >= 10


def test_the_report_is_made_again_from_the_record_alone(tmp_path: Path) -> None:
    from tests.report import main

    write_run(run_of(*map(point, STUDIES), findings=[compared()]), tmp_path)
    assert main([str(tmp_path)]) == 0
    assert "xmlrpc against redis_impl: faster" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_each_plot_has_the_caption_of_its_own(full_page: Page) -> None:
    assert len(set(full_page.alts)) == len(full_page.alts)
    frontier = [alt for alt in full_page.alts if alt.startswith("scaling frontier")]
    assert len(frontier) == 1
    assert "Left is cheap" in frontier[0]
