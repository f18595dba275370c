"""Findings and curves as lines and tables."""

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from harness.analysis.growth import MILLISECONDS, Curve, Size
from harness.record.findings import Finding, LibraryShare
from harness.statistics import Estimate
from lab.middleware import MIDDLEWARES


def finding_lines(finding: Finding) -> list[str]:
    """Return what is printed of *finding*: the verdict, then what the sides did and what is to be known."""
    head = f"{finding.verdict.upper():9} {finding.what}"
    if found := finding.comparison:
        head += f": {ratio_words(found.ratio)} x, noise up to {ratio_number(found.noise_ratio)} x"
    elif finding.median is not None:
        head += f": {value(finding.median, finding.unit)}{_interval(finding)}{_bar(finding)}"
    said = [head]
    if finding.change and finding.change.promise:
        said.append(f"          {finding.change.promise}")
    for name, rates in finding.rates.items():
        if rates:
            said.append(f"          {name}: {per_second(rates, finding.unit)}")
    return said + [f"          ({note})" for note in finding.notes]


def value(number: float, unit: str) -> str:
    """Return *number* with its unit."""
    return f"{number:.2f} x" if unit == "x" else f"{number:.1f} {unit}"


def per_second(rates: Sequence[float], unit: str = "x") -> str:
    """Return the median of *rates* and their range."""
    name = unit if unit == "MB/s" else "/s"
    return f"{median(rates):,.0f} {name} ({min(rates):,.0f} to {max(rates):,.0f})"


def _interval(finding: Finding) -> str:
    said = f", range {min(finding.values):.2f} to {max(finding.values):.2f}"
    found = finding.estimate
    if found and found.low is not None and found.high is not None:
        said += f", interval {found.low:.2f} to {found.high:.2f}"
    return f"{said}, n = {len(finding.values)}"


def _bar(finding: Finding) -> str:
    if finding.bar is None:
        return ""
    asked = "at least" if finding.at_least else "below"
    return f" (threshold: {asked} {value(finding.bar, finding.unit)})"


def ratio_words(found: Estimate) -> str:
    """Return a ratio with its interval, if it has one."""
    if found.low is None or found.high is None:
        return ratio_number(found.value)
    return f"{ratio_number(found.value)} [{ratio_number(found.low)}, {ratio_number(found.high)}]"


def ratio_number(value: float) -> str:
    """Return a ratio with as many digits as it may be read to."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def invalid_lines(curve: Curve) -> list[str]:
    """Return the sizes of a curve that are invalid, and why."""
    what = f"{curve.study}: {curve.label}, {curve.title}"
    return [
        f"INVALID   {what}, {one.size:,}: {'; '.join(one.objections)}"
        for one in curve.sizes
        if not one.is_valid
    ]


def growth_table(study: str, curves: list[Curve]) -> Table:
    """Return what was measured of one study, a column per size."""
    table = Table(title=f"As {study} grow (memory in MiB: all components)", title_justify="left")
    table.add_column("what")
    counts = sorted({one.size for curve in curves for one in curve.sizes})
    for count in counts:
        table.add_column(f"{count:,}", justify="right")
    for curve in curves:
        cells = {one.size: _size_cell(curve, one) for one in curve.sizes}
        table.add_row(f"{curve.label}, {curve.title}", *(cells.get(count, "") for count in counts))
    return table


def _size_cell(curve: Curve, size: Size) -> str:
    value = f"{size.median:,.1f} ms" if curve.unit == MILLISECONDS else f"{size.median:,.0f}/s"
    text = f"{value}, {sum(size.memory_mib.values()):,.0f} MiB"
    return text if size.is_valid else f"[red]invalid {text}[/red]"


LIBRARY_COLUMNS = (
    "variant",
    "library",
    "the lab carries",
    "application",
    "library: of calls",
    "library: of CPU",
)
LIBRARY_TITLE = "Python functions that one warm filter call runs, client and node together"


def library_rows(shares: Sequence[LibraryShare]) -> list[list[str]]:
    """Return a row for each variant, as the columns say; "-" where CPU time was not sampled."""
    latest = {share.middleware: share for share in shares}
    return [
        [
            MIDDLEWARES[share.middleware].label,
            *(f"{share.calls.get(kind, 0):,.0f}" for kind in ("library", "carrying", "application")),
            f"{share.of_calls:.0%}",
            f"{share.of_cpu:.0%}" if any(share.samples.values()) else "-",
        ]
        for share in latest.values()
    ]


def library_table(shares: Sequence[LibraryShare]) -> Table:
    """Return how much of a call lies in the middleware's library."""
    table = Table(title=LIBRARY_TITLE, title_justify="left")
    for place, title in enumerate(LIBRARY_COLUMNS):
        table.add_column(title, justify="right" if place else "left")
    for row in library_rows(shares):
        table.add_row(*row)
    return table
