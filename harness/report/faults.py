"""Trials of the fault lab in words, for progress, tables and the report."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from harness.analysis.verdicts import IN_PAIRS
from harness.record.run import Check, FaultTrial
from lab.middleware import MIDDLEWARES, STOCK, STOCK_LACKS


def verdict(trial: FaultTrial) -> str:
    """Return PASS or FAIL; of a stock variant, which promises little, what it shows is a RESULT."""
    return "PASS" if trial.holds else "FAIL" if must_hold(trial) else "RESULT"


def must_hold(trial: FaultTrial) -> bool:
    """Tell whether the variant promises what the scenario asks for."""
    return MIDDLEWARES[trial.middleware].variant != STOCK


HARMS = {
    "lost": "lost",
    "unexpected": "ghosts",
    "effects twice": "doubled",
    "wrong contents": "wrong",
    "slowest call": "hung",
    "answered": "refused",
    "good traffic answered": "refused",
    "not moved while it was frozen": "stuck",
    "other codes than documented": "codes",
    "process ended": "died",
    "replies harmed": "not tried",
    "trials that came to their end": "no end",
    "errors outside the contract": "bugs",
    "poisoned and not dead-lettered with a reason": "unreported",
}
"""What the table calls a check that is not kept; one that is not here is "late" or "failed"."""


def harms(trial: FaultTrial) -> list[str]:
    """Return what was lost, doubled, wrong, hung or late, shortest; nothing: every bar was kept."""
    found = []
    for check in trial.checks:
        if check.holds:
            continue
        word = HARMS.get(check.what, "late" if check.unit == "s" else "failed")
        count = f" {number(check.value)}" if check.limit == 0 and check.value else ""
        if word == "refused" and check.value is not None:
            count = f" {100 - check.value:.0f} %"
        found.append(f"{word}{count}")
    return list(dict.fromkeys(found))


def variant_name(middleware: str) -> str:
    """Return what a variant is called: "XML-RPC stock" or "XML-RPC tuned"."""
    found = MIDDLEWARES[middleware]
    return f"{found.label} tuned" if found.name in STOCK_LACKS else found.label


def describe_fault(trial: FaultTrial) -> str:
    """Return a line with the verdict, every figure against its bar, and the seed."""
    bars = ", ".join(check_words(check) for check in trial.checks)
    figures = "".join(f", {name} {number(value)}" for name, value in trial.figures.items())
    times = ", ".join(f"{fault.at_seconds:.1f}" for fault in trial.faults[:20])
    at = f"; faults at {times} s" if times else ""
    ledger = ", ".join(f"{name} {number(count)}" for name, count in trial.counts.items())
    notes = "".join(f"\n      {note}" for note in [*([f"ledger: {ledger}"] if ledger else []), *trial.notes])
    name = f"{verdict(trial)} {trial.scenario}, {trial.middleware}"
    return f"{name}: {bars}{figures}; seed {trial.seed}{at}{notes}"


def check_words(check: Check) -> str:
    """Return a figure and, where it is not a plain nought, its bar; BROKEN where it is not kept."""
    value = "not measured" if check.value is None else f"{number(check.value)}{_unit(check)}"
    sign = ">=" if check.is_least else "<="
    bar = "" if check.limit == 0 else f" ({sign} {number(check.limit)}{_unit(check)})"
    return f"{check.what} {value}{bar}{'' if check.holds else ' BROKEN'}"


def broken(trial: FaultTrial) -> list[str]:
    """Return the bars that were not kept, in words."""
    return [check_words(check).removesuffix(" BROKEN") for check in trial.checks if not check.holds]


def sentences(trials: Sequence[FaultTrial]) -> Iterator[str]:
    """Yield what the trials show, a sentence per middleware."""
    for name in IN_PAIRS:
        mine = [trial for trial in trials if trial.middleware == name]
        if not mine:
            continue
        failed = [trial.scenario for trial in mine if not trial.holds]
        lost = sum(trial.counts.get("lost", 0) for trial in mine)
        acknowledged = sum(trial.counts.get("acknowledged", 0) for trial in mine)
        promise = "kept its promise" if must_hold(mine[0]) else "kept what tuned promises"
        kept = f"{promise} in {len(mine) - len(failed)} of {len(mine)} scenarios of faults"
        but = f", not under: {', '.join(failed)}" if failed else ""
        of = f"Of {acknowledged:,} acknowledged requests {lost:,} were lost."
        yield f"{variant_name(name)} {kept}{but}. {of}"


def by_scenario(trials: Sequence[FaultTrial]) -> dict[str, dict[str, FaultTrial]]:
    """Return the last trial of each scenario and middleware."""
    found: dict[str, dict[str, FaultTrial]] = {}
    for trial in trials:
        found.setdefault(trial.scenario, {})[trial.middleware] = trial
    return found


MOST_COLUMNS = 100
"""The width of the table: more would not fit a usual terminal."""


def fault_table(trials: Sequence[FaultTrial]) -> Table:
    """Return what came of each scenario, a line each, a column per variant; it fits 100 columns."""
    tried = tried_names(trials)
    table = Table(
        title="Faults (ok: all that tuned promises)",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        width=MOST_COLUMNS if len(tried) > MOST_NARROW else None,
    )
    table.add_column("scenario", no_wrap=True)
    for name in tried:
        table.add_column(variant_name(name).replace(" ", "\n"))
    for scenario, row in by_scenario(trials).items():
        table.add_row(scenario, *(_cell(row.get(name)) for name in tried))
    return table


MOST_NARROW = 4


def tried_names(trials: Sequence[FaultTrial]) -> list[str]:
    """Return the variants of *trials*, those of one middleware beside each other."""
    return [name for name in IN_PAIRS if any(trial.middleware == name for trial in trials)]


def _cell(trial: FaultTrial | None) -> str:
    if trial is None:
        return "-"
    said = "\n".join(harms(trial)) or "ok"
    return said if trial.holds or not must_hold(trial) else f"[red]{said}[/red]"


def number(value: float) -> str:
    """Return a figure with three digits at least, and no more decimals than it needs."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _unit(check: Check) -> str:
    return f" {check.unit}" if check.unit else ""
