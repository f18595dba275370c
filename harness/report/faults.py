"""Trials of the fault lab in words, for progress, tables and the report."""

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.table import Table

from harness.analysis.verdicts import IN_PAIRS
from harness.record.run import Check, FaultTrial, Run
from lab.middleware import MIDDLEWARES, STOCK, STOCK_LACKS


def verdict(trial: FaultTrial) -> str:
    """Return PASS or FAIL; of a stock variant, which promises little, what it shows is a RESULT."""
    return "PASS" if trial.holds else "FAIL" if must_hold(trial) else "RESULT"


def must_hold(trial: FaultTrial) -> bool:
    """Tell whether the variant promises what the scenario asks for."""
    return MIDDLEWARES[trial.middleware].variant != STOCK


HARMS = {
    "lost": "lost",
    "unexpected": "unexpected",
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
    "errors outside the contract": "raw error",
    "poisoned and not dead-lettered with a reason": "unreported",
}
"""What the table calls a check that is not kept; one that is not here is "late" or "failed"."""
ANSWERED = "answered, %"
LEAST_ANSWERED = 99.0
"""In percent: below, the table says how many were refused, also where the scenario allows it."""
MEANINGS = {
    "ok": "everything that the tuned variant promises was kept",
    "lost": "the client was told that it is accepted, and it is not there afterwards",
    "unexpected": "it is there afterwards, but nobody sent it, or the client was told that it is refused",
    "doubled": "its effect happened twice",
    "wrong": "the answer is another one than it must be",
    "hung": "a client waited for longer than its deadline",
    "refused": "the client got an error in place of an answer, so it knows that it must try again",
    "stuck": "it was done only when the frozen node went on",
    "codes": "bad input got another error code than the documented one",
    "died": "bad input ended the process that got it",
    "not tried": "the fault could not be caused often enough",
    "no end": "the trial broke off, so nothing is known",
    "raw error": "a client got an error of the library itself, which the lab does not document",
    "unreported": "a text that kills its node is neither done nor among the dead letters",
    "late": "it went on, but later than tuned promises",
    "failed": "something else did not hold; the figures say what",
}
"""What the words of the table mean."""
LEDGER = {
    "attempted": "requests sent",
    "acknowledged": "answered, or accepted for later",
    "rejected": "refused for certain: they must have no effect",
    "indeterminate": "no answer, or an error that leaves open whether they had their effect",
    "applied": "effects that were found afterwards; requests that only ask leave none",
    "lost": "acknowledged, and its effect was not found",
    "unexpected": "an effect that was found, of a request that was rejected or never sent",
    "duplicated": "its effect was found twice",
    "wrong": "another answer or result than it must be",
    "repeated": "worked on again after the first time, which costs time and must have no effect",
    "recovered": "indeterminate, and its effect was found",
}
"""What the ledger counts."""


def harms(trial: FaultTrial) -> list[str]:
    """Return what was lost, doubled, wrong, hung, late or refused, shortest; "ok": every check held."""
    found = [] if not trial.holds else ["ok"]
    for check in trial.checks:
        if check.holds:
            continue
        word = HARMS.get(check.what, "late" if check.unit == "s" else "failed")
        count = f" {number(check.value)}" if check.limit == 0 and check.value else ""
        if word == "refused" and check.value is not None:
            count = f" {100 - check.value:.0f} %"
        found.append(f"{word}{count}")
    refused = 100 - trial.figures.get(ANSWERED, 100.0)
    if refused > 100 - LEAST_ANSWERED and not any(one.startswith("refused") for one in found):
        found.append(f"refused {refused:.0f} %")
    return list(dict.fromkeys(found))


def harm_meanings(trials: Sequence[FaultTrial]) -> dict[str, str]:
    """Return the words that the table of *trials* uses, with what they mean."""
    said = [one for trial in trials for one in harms(trial)]
    return {word: what for word, what in MEANINGS.items() if any(one.startswith(word) for one in said)}


def scenario_promises(runs: Iterable[Run]) -> dict[str, str]:
    """Return what each scenario of *runs* does and what must hold then."""
    asked = [run.configuration.get("scenarios") for run in runs]
    return {name: said for one in asked if isinstance(one, dict) for name, said in one.items()}


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
    ledger = ", ".join(f"{name} {number(count)}" for name, count in trial.counts.items() if count)
    notes = "".join(f"\n      {note}" for note in [*([f"ledger: {ledger}"] if ledger else []), *trial.notes])
    name = f"{verdict(trial)} {trial.scenario}, {trial.middleware}"
    return f"{name}: {bars}{figures}; seed {trial.seed}{at}{notes}"


def check_words(check: Check) -> str:
    """Return a figure and, where it is not a plain nought, its bar; BROKEN where it is not kept."""
    value = "not measured" if check.value is None else f"{number(check.value)}{_unit(check)}"
    sign = ">=" if check.is_least else "<="
    bar = "" if check.limit == 0 else f" ({sign} {number(check.limit)}{_unit(check)})"
    return f"{check.what} {value}{bar}{'' if check.holds else ' BROKEN'}"


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
        title="Faults",
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
    said = "\n".join(harms(trial))
    return said if trial.holds or not must_hold(trial) else f"[red]{said}[/red]"


def number(value: float) -> str:
    """Return a figure with three digits at least, and no more decimals than it needs."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _unit(check: Check) -> str:
    return f" {check.unit}" if check.unit else ""
