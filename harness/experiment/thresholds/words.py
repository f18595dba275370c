"""Findings in words."""

from collections.abc import Sequence
from statistics import median

from harness.experiment.thresholds.finding import Finding, Verdict


def lines(finding: Finding) -> list[str]:
    """Return what is printed of *finding*: the verdict, then what the sides did and what is to be known."""
    head = f"{finding.verdict.upper():8} {finding.what}"
    if finding.missing:
        return [f"{head}: {finding.missing}"]
    if finding.median is not None:
        head += f": {value(finding.median, finding.unit)}{_interval(finding)}{_bar(finding)}"
    said = [head, *(f"         {objection}" for objection in finding.objections)]
    for name, rates in finding.rates.items():
        said.append(f"         {name}: {per_second(rates, finding.unit)}{_share(finding, name)}")
    return said + [f"         ({note})" for note in finding.notes]


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
        said += f", 95 % interval {found.low:.2f} to {found.high:.2f}"
    return f"{said}, n = {len(finding.values)}"


def _bar(finding: Finding) -> str:
    if finding.bar is None:
        return ""
    asked = "at least" if finding.at_least else "below"
    close = ": the interval holds it" if finding.is_close and finding.verdict is not Verdict.INVALID else ""
    return f" (bar: {asked} {value(finding.bar, finding.unit)}{close})"


def _share(finding: Finding, name: str) -> str:
    if name != finding.limit or finding.limit_share is None:
        return ""
    return f"; {finding.ours} reaches {100 * finding.limit_share:.0f} % of it"
