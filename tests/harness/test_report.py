"""Plots and report: whatever a run holds, they are made; what they say is what its valid points support."""

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.record.journal import write_run
from harness.record.measurement import Usage
from harness.record.run import Point, Run
from harness.report.page import write_report
from harness.report.plots import PLOTS, draw
from harness.report.table import print_table
from tests.harness.runs import compare_points, full_run, lossy, point, run_of, speedup_points, window

pytestmark = pytest.mark.filterwarnings("error")
NO_PERCENTILES = dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9"))
STUDIES = ("requests", "clients", "pipelined", "accepted", "sweep")
ALL_PLOTS = (*PLOTS, "scaling-frontier", "scaling-step", "tornado-rabbitmq", "growth-insults")
INVALID = ["too short: 5 requests in 0.01 s"]
SCRIPT = "<script>alert('&')</script>"


class Page(HTMLParser):
    """What a browser would fetch, and the texts of the elements of each name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.resources: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.resources += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

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
        assert page.of("li")[0] == "Nothing that was measured here supports a conclusion."
    assert f"All {len(ODD_RUNS[name].points)} windows" in page.text
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
        "Tuned over stock",
        "The library on the path",
        "Speedup",
        "Capacity",
        "Dynamic scaling",
        "What was found",
        "Plots",
        "How it was measured",
    ]


def test_invalid_points_are_marked_and_counted(tmp_path: Path) -> None:
    run = run_of(point("pipelined", objections=INVALID), point("pipelined", "pyro4"))
    page = page_of(run, tmp_path)
    assert '<td class="invalid">1,000, invalid</td>' in page.text
    assert '<tr class="invalid">' in page.text
    assert INVALID[0] in page.of("td")
    assert any(caveat.startswith("1 of 2 windows are marked invalid") for caveat in page.of("li"))


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

    write_run(run_of(*map(point, STUDIES), *compare_points()), tmp_path)
    assert main([str(tmp_path)]) == 0
    assert "B against A: faster" in (tmp_path / "report.html").read_text(encoding="utf-8")
