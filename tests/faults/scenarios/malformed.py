"""Malformed input under load: one documented code each, the process lives, good traffic hardly notices."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.contract import Application, Architecture
from lab.load.plans import Plan
from lab.operations import Operation
from tests.faults.injector import Injector
from tests.faults.ledger import Entry, Outcome
from tests.faults.load import Load, Stream
from tests.faults.rig import Ended, Rig, Scenario, settled, systems, trial
from tests.faults.site import Site, site
from tests.faults.timeline import percentile
from tests.faults.wire import Kind, kinds_of, wire_to
from tests.harness.fault_trial import Check, FaultTrial
from tests.harness.loops import now

CLIENTS = 4
RATE = 100.0
MIX = (Operation.ADD_INSULT, Operation.INSULT_ME, Operation.INSULT_ME)
BAD_RATE = 50.0
WINDOW_SECONDS = 1.0
"""Good traffic is measured with and without bad in turn, so that both see the same machine."""
SLOWER_AT_MOST = 1.2
LEAST_KINDS = 40


@dataclass(slots=True)
class _Sender:
    """Sends malformed input at a steady rate in every second window, until all is sent."""

    site: Site
    todo: list[Kind]
    start_ns: int
    answers: Counter[str] = field(default_factory=Counter)
    mistakes: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        with wire_to(self.site) as wire:
            for kind in self.todo:
                while not is_bad_window(now(), self.start_ns):
                    time.sleep(0.005)
                try:
                    code = wire.refusal(kind)
                except (OSError, ValueError) as error:
                    code = repr(error)
                self.answers[code] += 1
                if code != kind.code:
                    self.mistakes[kind.name] = code
                time.sleep(1 / BAD_RATE)


def is_bad_window(at_ns: int, start_ns: int) -> bool:
    """Tell whether malformed input is sent at that time."""
    return int((at_ns - start_ns) / 1e9 / WINDOW_SECONDS) % 2 == 1


def malformed(rig: Rig, middleware: str) -> FaultTrial:
    """Send each kind 2 times (full size: 100) to a node that serves good clients."""
    kinds = kinds_of(middleware)
    todo = kinds * rig.of(1, 2, 100)
    seconds = 2 * len(todo) / BAD_RATE * 1.3 + 2
    with site(middleware, Application.SERVICE, rig.brokers, architecture=Architecture.ONE_NODE) as system:
        node = system.nodes[0].pid
        with system.service() as client:
            client.add_insult("first")
        load = Load(systems([system]), Stream(rig.seed, MIX), Plan.constant(RATE, seconds), CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            sender = _Sender(system, todo, load.start_ns)
            thread = threading.Thread(target=sender.run, daemon=True)
            thread.start()
            while thread.is_alive() and load.running:
                thread.join(0.1)
            load.stop()
        thread.join(20.0)
        ended = settled(load, injector, [system])
        same = [handle.pid for handle in system.nodes] == [node] and not system.restarts()
    return _judged(rig, middleware, ended, sender, len(kinds), is_same=same)


def _judged(
    rig: Rig, middleware: str, ended: Ended, sender: _Sender, kinds: int, *, is_same: bool
) -> FaultTrial:
    good, bad = _p99s(ended.entries, ended.load.start_ns)
    checks = [
        Check("kinds", kinds, LEAST_KINDS, is_least=True),
        Check("not sent", len(sender.todo) - sender.answers.total(), 0),
        Check("other codes than documented", len(sender.mistakes), 0),
        Check("process ended", 0 if is_same else 1, 0),
        Check("good traffic answered", ended.answered_percent, 100.0, "%", is_least=True),
        Check("good traffic's p99", bad / good if good and bad else None, SLOWER_AT_MOST, "x"),
    ]
    figures = {"malformed": float(sender.answers.total()), "p99 without, ms": good or 0, "with, ms": bad or 0}
    notes = [f"{name}: {code}" for name, code in list(sender.mistakes.items())[:5]]
    return trial("malformed", middleware, rig, ended, checks, figures=figures, notes=notes)


def _p99s(entries: Sequence[Entry], start_ns: int) -> tuple[float | None, float | None]:
    times: dict[bool, list[float]] = {True: [], False: []}
    for entry in entries:
        if entry.outcome is Outcome.ACKNOWLEDGED:
            times[is_bad_window(entry.planned_ns, start_ns)].append((entry.done_ns - entry.planned_ns) / 1e6)
    return percentile(times[False], 0.99), percentile(times[True], 0.99)


MALFORMED = Scenario(
    "malformed",
    "40 kinds of malformed input and more, 100 each, under load: one code each, good traffic's p99 < +20 %",
    malformed,
    12.0,
    340.0,
)
