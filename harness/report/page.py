"""One self-contained page: conclusions and caveats first, then tables and plots, then how it was measured."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.analysis.verdicts import IN_PAIRS, speedups
from harness.record.journal import RECORD, read_run
from harness.record.run import Run, is_refusal
from harness.report.conclusions import FOUND, Answer, answers, caveats, heading
from harness.report.faults import (
    LEDGER,
    by_scenario,
    check_words,
    harm_meanings,
    harms,
    must_hold,
    number,
    scenario_promises,
    tried_names,
    variant_name,
)
from harness.report.findings import LIBRARY_COLUMNS, LIBRARY_TITLE, library_rows
from harness.report.formatting import capacity, load_words, milliseconds, shown_systems, spread, study_titles
from harness.report.scaling import scaling_rows, scaling_title, scalings_by_profile, simulated_words
from harness.report.table import factor_rows, found_lines
from lab.errors import LabError
from lab.middleware import MIDDLEWARES, VARIANTS, Promise

CAPTIONS = {
    "comparison": "Longer is better. Solid bars: stock; outlined: tuned; hatched: n nodes.",
    "throughput-over-requests": "A curve that is flat at its end has settled; small points are too short to "
    "rely on.",
    "throughput-over-clients": "Where throughput stops rising, more clients only wait longer.",
    "response-times": "How long a request takes for most (p50) and for the unlucky (p99: one in a hundred).",
    "rate-and-response-time": "Left of the bend a system has room; right of it requests wait.",
    "speedup": "On the dashed line n nodes do n times the work of one. Bars that touch it may be on it.",
    "efficiency": "How near n nodes come to n times what one makes that does nothing but the declared work.",
    "scaling-frontier": "Left is cheap, low is punctual. The grey line is the cheapest schedule with at most "
    "0.1 % late events, found afterwards.",
    "scaling": "A backlog that grows, or a p99 above the red line: too few workers. The wide grey line is "
    "the fewest workers that the rate needs. Workers far above it cost money and do nothing.",
    "faults": "Left: what was answered. Right: the response time of 99 of 100 requests, or of the slowest "
    "where a point stands for fewer than 100. Each vertical line is a fault. Where throughput falls or the "
    "response time rises beside it, users noticed the fault.",
    "anatomy": "Where the CPU time of one request goes, from stacks that were sampled (`lab anatomy`).",
    "thresholds": "Right of the dashed line the threshold is reached. Bars in black: intervals of the pairs.",
    "tornado": "What one change of a setting does to the rate; what is promised may change with it.",
    "growth": "The same measurement as there is more of everything. A flat curve does not get slower.",
    "cpu-per-request": "The longest bar is what to make cheaper, or to give a core of its own.",
}

STUDIES = {"clients": "over clients", "sweep": "over rates", "planned": "by a plan"}
"""What the table of all windows calls studies, beside those of a stress."""
SEE_BELOW = "What was found is listed below, line by line, each with its verdict."
CONTENTS = Markup("<!-- contents -->")
NOTHING = "Nothing that was measured here supports a conclusion."


def write_report(run: Run, folder: Path) -> Path:
    """Write ``report.html`` into *folder*, with the plots that stand in its ``plots``; return the file."""
    found, found_speedups = list(found_lines(run)), speedups(run)
    libraries = run.libraries or [share for one in beside(folder, "library") for share in one.libraries]
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            run=run,
            heading=heading(run),
            answers=answers(run) or [Answer(SEE_BELOW, FOUND) if found else Answer(NOTHING, "")],
            promises=promise_rows(run),
            caveats=caveats(run),
            systems=shown_systems(run),
            studies=study_titles(run),
            speedups=found_speedups,
            spread=spread(found_speedups) if found_speedups else [],
            scalings=scalings_by_profile(run),
            factors=factor_rows(run),
            libraries=library_rows(libraries),
            library_columns=LIBRARY_COLUMNS,
            library_title=LIBRARY_TITLE,
            study_names=study_titles(run) | STUDIES,
            labels={name: variant_name(name) for name in VARIANTS},
            found=found,
            plots=_plots(folder / "plots"),
            facts=_facts(run),
            contents=CONTENTS,
            **_faults([run] if run.faults else list(beside(folder, "faults"))),
        )
    )
    path = folder / "report.html"
    path.write_text(_with_contents(page), encoding="utf-8")
    return path


def _faults(runs: Sequence[Run]) -> dict[str, object]:
    """Return what the page says of faults, from *runs* of them."""
    trials = [trial for run in runs for trial in run.faults]
    return {
        "trials": trials,
        "faults": by_scenario(trials),
        "tried": tried_names(trials),
        "scenario_promises": scenario_promises(runs),
        "harm_meanings": harm_meanings(trials),
        "ledger": LEDGER,
    }


def _with_contents(page: str) -> str:
    headings = re.findall('<h2 id="(.+?)">(.+?)</h2>', page)
    links = "\n".join(f'<a href="#{name}">{title}</a>' for name, title in headings)
    return page.replace(CONTENTS, f'<nav aria-label="On this page">{links}</nav>', 1)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ms": milliseconds, "capacity": capacity, "marked": _marked}
    environment.filters |= {
        "simulated": simulated_words,
        "scaling_title": scaling_title,
        "scaling_rows": scaling_rows,
        "load": load_words,
    }
    environment.filters |= {"check": check_words, "number": number, "harms": harms}
    environment.filters |= {"must_hold": must_hold, "is_refusal": is_refusal}
    return environment


def _marked(text: str) -> Markup:
    """Set in type what stands between backticks, and in bold which need a sentence answers."""
    text = re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub("^((?:If|What) [^:]+:)", r"<b>\1</b>", text))


def promise_rows(run: Run) -> dict[str, dict[str, bool]]:
    """Return what each variant of *run* promises, by promise and variant."""
    there = [name for name in IN_PAIRS if any(point.middleware == name for point in run.points)]
    return {
        str(promise): {variant_name(name): MIDDLEWARES[name].promises(promise) for name in there}
        for promise in Promise
    }


def beside(folder: Path, experiment: str) -> Iterator[Run]:
    """Yield the runs of *experiment* that stand beside *folder*, the oldest first."""
    for path in sorted(folder.resolve().parent.glob(f"*-{experiment}")):
        with suppress(LabError):  # cut off, or of another schema
            yield read_run(path / RECORD)


def _plots(folder: Path) -> list[dict[str, str]]:
    """Return the plots, in the order of their captions, as what an <img> takes."""
    found = []
    left = sorted(folder.glob("*.svg"))
    for name, caption in CAPTIONS.items():
        for path in [one for one in left if one.stem.startswith(name)]:
            left.remove(path)
            data = base64.b64encode(path.read_bytes()).decode()
            found.append(
                {
                    "name": path.stem,
                    "alt": f"{path.stem.replace('-', ' ')}. {caption}",
                    "caption": caption,
                    "data": f"data:image/svg+xml;base64,{data}",
                }
            )
    return found


def _facts(run: Run) -> dict[str, str]:
    """Return where and how it was measured, as lines."""
    facts = {**run.environment, **run.configuration}
    found = {}
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            title, said = FACTS.get(name, (name.replace("_", " "), _said))
            found[title] = said(value)
    return found


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_said, value))
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _names(names: Iterable[str]) -> str:
    return ", ".join(variant_name(name) if name in MIDDLEWARES else name for name in names)


FACTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "null_rates": (
        "load generators alone, against nothing",
        lambda rates: "; ".join(f"{count} in flight {rate:,.0f}/s" for count, rate in rates.items()),
    ),
    "is_dirty": ("changes that are not committed", _said),
    "cpu_quota": ("limit of CPU time", _said),
    "memory_gib": ("memory", lambda gib: f"{gib:g} GiB"),
    "load_before": ("load before (processes that want a core)", lambda load: f"{load:.1f}"),
    "load_after": ("load after", lambda load: f"{load:.1f}"),
    "scenarios": ("scenarios", ", ".join),
    "middlewares": ("middlewares", _names),
    "only": ("only", _names),
    "lab": ("version of the lab", _said),
}
"""What facts are called, and how their values are written."""
