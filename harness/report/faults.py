"""Trials of the fault lab in words, for progress, tables and the report."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from harness.record.run import Check, FaultTrial
from lab.middleware import MIDDLEWARES, VARIANTS


def verdict(trial: FaultTrial) -> str:
    """Return PASS or FAIL."""
    return "PASS" if trial.holds else "FAIL"


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
    for name, middleware in MIDDLEWARES.items():
        mine = [trial for trial in trials if trial.middleware == name]
        if not mine:
            continue
        failed = [trial.scenario for trial in mine if not trial.holds]
        lost = sum(trial.counts.get("lost", 0) for trial in mine)
        acknowledged = sum(trial.counts.get("acknowledged", 0) for trial in mine)
        kept = f"kept its promise in {len(mine) - len(failed)} of {len(mine)} scenarios of faults"
        but = f", not under: {', '.join(failed)}" if failed else ""
        yield f"{middleware.label} {kept}{but}. Of {acknowledged:,} acknowledged requests {lost} were lost."


def by_scenario(trials: Sequence[FaultTrial]) -> dict[str, dict[str, FaultTrial]]:
    """Return the last trial of each scenario and middleware."""
    found: dict[str, dict[str, FaultTrial]] = {}
    for trial in trials:
        found.setdefault(trial.scenario, {})[trial.middleware] = trial
    return found


def fault_table(trials: Sequence[FaultTrial]) -> Table:
    """Return the verdicts, a line per scenario, a column per middleware."""
    table = Table(title="Faults: what is promised, and what held", title_justify="left")
    table.add_column("scenario")
    tried = [name for name in VARIANTS if any(trial.middleware == name for trial in trials)]
    for name in tried:
        table.add_column(MIDDLEWARES[name].label)
    for scenario, row in by_scenario(trials).items():
        table.add_row(scenario, *(_cell(row.get(name)) for name in tried))
    return table


def _cell(trial: FaultTrial | None) -> str:
    if trial is None:
        return "-"
    return "pass" if trial.holds else f"[red]FAIL[/red] {'; '.join(broken(trial))}"


def number(value: float) -> str:
    """Return a figure with three digits at least, and no more decimals than it needs."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _unit(check: Check) -> str:
    return f" {check.unit}" if check.unit else ""
