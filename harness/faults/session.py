"""The length of ``lab faults``: private brokers, trial after trial, and what is written at the end."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.experiment.session import FAILED, GOOD, record
from harness.faults.rig import Rig, Scenario, Size
from harness.faults.scenarios.brokers import RABBITMQ_KILLED, REDIS_KILLED
from harness.faults.scenarios.drain import DRAIN
from harness.faults.scenarios.input import BOMBS, MALFORMED
from harness.faults.scenarios.network import NETWORK, REPLIES, SILENT
from harness.faults.scenarios.nodes import FROZEN, KILLS, MASTERS
from harness.faults.scenarios.operators import CLOCK, DELETED, FULL, TWICE
from harness.faults.scenarios.poison import POISONED
from harness.faults.scenarios.subscribers import SUBSCRIBERS
from harness.faults.site import NODES, Brokers
from harness.record.journal import Journal, environment
from harness.record.measurement import CannotKeep
from harness.record.run import Check, FaultTrial, Run
from harness.report.faults import describe_fault, must_hold, verdict
from harness.report.progress import Steps
from lab.brokers import Broker, rabbitmq_broker, redis_broker
from lab.cli.brokers import say
from lab.contract import Architecture
from lab.errors import Unavailable
from lab.middleware import MIDDLEWARES
from lab.settings import settings

_NODES = (KILLS, FROZEN, MASTERS, POISONED, DRAIN)
_BROKERS_AND_NETWORK = (REDIS_KILLED, RABBITMQ_KILLED, REPLIES, NETWORK)
_CLIENTS = (MALFORMED, BOMBS, SILENT, SUBSCRIBERS)
_OPERATORS = (DELETED, FULL, TWICE, CLOCK)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (*_NODES, *_BROKERS_AND_NETWORK, *_CLIENTS, *_OPERATORS)
}


SOAK_START_SECONDS = 30.0
"""About what it takes to start and end eight systems."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for on the command line."""

    scenarios: Sequence[Scenario]
    middlewares: Sequence[str]
    seed: int
    size: Size
    results: Path
    soak_seconds: float = 0.0
    """Instead of scenarios: all middlewares side by side for so long; 0: no."""


def conduct(order: Order) -> int:
    """Make the trials; write data, plots, a table and a report, also when interrupted.

    Return 0; 1 if a threshold was not kept or a system failed; 130 if interrupted.
    """
    configuration: dict[str, object] = {
        "seed": order.seed,
        "form": str(order.size),
        "scenarios": [scenario.name for scenario in order.scenarios],
        "middlewares": list(order.middlewares),
    }
    run = Run("faults", configuration, environment())

    def measure(journal: Journal) -> int:
        with private(run, _needed(order)) as brokers:
            journal.update()
            rig = Rig(brokers, order.seed, order.size)
            return _soak(order, rig, journal) if order.soak_seconds else _measure(order, rig, journal)

    return record(run, order.results, measure)


@contextmanager
def private(run: Run, kinds: frozenset[str]) -> Iterator[Brokers]:
    """Start private brokers of these *kinds*, as many as can be had, and say which."""
    found: dict[str, Broker] = {}
    starts = {"redis": redis_broker, "rabbitmq": rabbitmq_broker}
    with ExitStack() as stack:
        for kind in sorted(kinds):
            start = starts[kind]
            try:
                found[kind] = stack.enter_context(start(settings(), private=True))
                say(found[kind].describe())
            except Unavailable as error:
                if settings().require_brokers:
                    raise
                run.notes.append(f"Skipped what needs {kind}: {error.message}")
                say(run.notes[-1])
        run.environment["brokers"] = [broker.describe() for broker in found.values()]
        yield Brokers(found)


def _needed(order: Order) -> frozenset[str]:
    needs = (MIDDLEWARES[name].needed_brokers(Architecture.N_NODE) for name in order.middlewares)
    return frozenset[str]().union(*needs)


def _measure(order: Order, rig: Rig, journal: Journal) -> int:
    code = GOOD
    todo = [
        (scenario, name)
        for scenario in order.scenarios
        for name in order.middlewares
        if name.partition(":")[0] in scenario.middlewares
    ]
    seconds = [each.full_seconds if order.size is Size.FULL else each.seconds for each, _ in todo]
    with Steps(sum(seconds)) as progress:
        for (scenario, name), expected in zip(todo, seconds, strict=True):
            progress.step(f"{scenario.name}: {MIDDLEWARES[name].label}", expected)
            broker = MIDDLEWARES[name].needed_brokers(Architecture.N_NODE) - set(rig.brokers.by_kind)
            if missing := "a broker that it needs is not here" if broker else scenario.missing():
                journal.run.notes.append(f"Skipped {scenario.name}, {MIDDLEWARES[name].label}: {missing}.")
                progress.say(journal.run.notes[-1])
                continue
            try:
                trial = scenario.run(rig, name)
            except CannotKeep:
                raise
            except Exception as error:  # noqa: BLE001 (a trial that breaks must not lose the others)
                traceback.print_exc()
                trial = _broken_off(scenario, name, rig, error)
            journal.keep(trial)
            progress.say(describe_fault(trial), verdict(trial))
            code = code if trial.holds or not must_hold(trial) else FAILED
    return code


def _soak(order: Order, rig: Rig, journal: Journal) -> int:
    from harness.faults.soak import soak

    run = journal.run
    run.configuration |= {"form": "soak", "soak_seconds": order.soak_seconds, "scenarios": ["soak"]}
    with Steps(order.soak_seconds + SOAK_START_SECONDS) as progress:
        progress.step("soak: all side by side", order.soak_seconds + SOAK_START_SECONDS)
        for trial in soak(rig, order.middlewares, order.soak_seconds, progress.say):
            journal.keep(trial)
            progress.say(describe_fault(trial), verdict(trial))
    return GOOD if all(trial.holds for trial in run.faults) else FAILED


def _broken_off(scenario: Scenario, middleware: str, rig: Rig, error: Exception) -> FaultTrial:
    """Return the record of a trial that could not be finished: no bar was kept."""
    checks = [Check("trials that came to their end", None, 1.0, is_least=True)]
    architecture, note = str(Architecture.N_NODE), f"broken off: {error!r}"
    return FaultTrial(
        scenario.name, middleware, architecture, NODES, rig.seed, 0.0, checks, notes=[note[:500]]
    )
