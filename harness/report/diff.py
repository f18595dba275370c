"""Two stored runs side by side, and what may be concluded from that."""

from collections.abc import Iterator
from statistics import median

from rich.table import Table

from harness.record.run import Point, Run
from harness.record.table import CONDITIONS
from harness.report.findings import ratio_number

FACTS = ("commit", "is_dirty", "processor", "cores", "cpu_quota", "system", "python", "libraries", "brokers")
"""Of the environment, what moves a rate."""
NO_VERDICT = (
    "The two runs were not measured in the same blocks. So no difference here is shown to be more than one "
    "of the machine at two times. To decide, measure both side by side: `lab compare`."
)
Condition = tuple[object, ...]


def diff_table(first: Run, second: Run) -> Table:
    """Return the median rates of what both runs measured under the same conditions."""
    ones, others = _rates(first), _rates(second)
    shared = [one for one in ones if one in others]
    table = Table(title="Requests per second, medians of valid windows", title_justify="left")
    table.add_column("what")
    for name in ("A", "B", "B / A"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in shared:
        a, b = (median(rates[one]) for rates in (ones, others))
        table.add_row(_words(one), f"{a:,.0f}/s", f"{b:,.0f}/s", ratio_number(b / a))
    return table


def diff_lines(first: Run, second: Run) -> Iterator[str]:
    """Yield what is to be known: what only one of them has, what else differs, and what may be concluded."""
    ones, others = _rates(first), _rates(second)
    for name, mine, theirs in (("A", ones, others), ("B", others, ones)):
        if alone := len(mine.keys() - theirs.keys()):
            yield f"{alone} condition(s) have valid windows in {name} only."
    for name in FACTS:
        a, b = first.environment.get(name), second.environment.get(name)
        if a != b:
            yield f"{name.replace('_', ' ')}: {_said(a)} in A, {_said(b)} in B."
    if not ones.keys() & others.keys():
        yield "Nothing was measured under the same conditions: the two cannot be compared."
    else:
        yield NO_VERDICT


def _rates(run: Run) -> dict[Condition, list[float]]:
    found: dict[Condition, list[float]] = {}
    for point in run.points:
        if point.is_valid and point.throughput:
            found.setdefault(_condition(point), []).append(point.throughput)
    return found


def _condition(point: Point) -> Condition:
    return tuple(value(point) for value in CONDITIONS.values())


def _words(condition: Condition) -> str:
    """Say a condition: names as they are, numbers and what is varied with what they count."""
    said = zip(CONDITIONS, condition, strict=True)
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" if isinstance(value, int) else str(value)
        for name, value in said
        if value
    )


def _said(fact: object) -> str:
    return "not known" if fact is None else str(fact)
