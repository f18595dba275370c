"""Malformed input under load: one documented code each, the process lives, good traffic hardly notices."""

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import cast

from lab.contract import Application, Architecture
from lab.load.plans import Plan
from lab.operations import Operation
from tests.faults.injector import Injector
from tests.faults.ledger import Entry, Outcome
from tests.faults.load import Load, Stream
from tests.faults.rig import Ended, Rig, Scenario, settled, systems, trial
from tests.faults.site import site
from tests.faults.timeline import percentile
from tests.faults.wire import WIRES, Where, kinds_of, where, wire_to
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
LONGER = 6.0
"""Than the pauses: sending takes time, too, on a busy machine most of it. The load ends when all is sent."""


Answers = list[tuple[str, str, str]]
"""Of each malformed input: its name, the code that it must get, and what it got."""


def send_all(place: Where, times: int, start_ns: int, answers: Connection) -> None:
    """Send each kind *times*, at a steady rate in every second window; then tell what came back.

    In a process of its own: in that of the good clients it would slow these down itself.
    """
    got: Answers = []
    with wire_to(place) as wire:
        for kind in kinds_of(place.middleware) * times:
            while not is_bad_window(now(), start_ns):
                time.sleep(0.005)
            try:
                code = wire.refusal(kind)
            except (OSError, ValueError) as error:
                code = repr(error)
            got.append((kind.name, kind.code, code))
            time.sleep(1 / BAD_RATE)
    answers.send(got)


def is_bad_window(at_ns: int, start_ns: int) -> bool:
    """Tell whether malformed input is sent at that time."""
    return int((at_ns - start_ns) / 1e9 / WINDOW_SECONDS) % 2 == 1


def malformed(rig: Rig, middleware: str) -> FaultTrial:
    """Send each kind 2 times (full size: 100) to a node that serves good clients."""
    times = rig.of(1, 2, 100)
    wanted = times * len(kinds_of(middleware))
    seconds = 2 * wanted / BAD_RATE * LONGER + 10.0
    with site(middleware, Application.SERVICE, rig.brokers, architecture=Architecture.ONE_NODE) as system:
        node = system.nodes[0].pid
        with system.service() as client:
            client.add_insult("first")
        load = Load(systems([system]), Stream(rig.seed, MIX), Plan.constant(RATE, seconds), CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            got = _sent(where(system), times, load)
            load.stop()
        ended = settled(load, injector, [system])
        same = [handle.pid for handle in system.nodes] == [node] and not system.restarts()
    return _judged(rig, middleware, ended, got, wanted, is_same=same)


def _sent(place: Where, times: int, load: Load) -> Answers:
    """Let a process send, and wait for it, as long as the load lasts at most."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(target=send_all, args=(place, times, load.start_ns, theirs), daemon=True)
    sender.start()
    theirs.close()
    try:
        while load.running and not ours.poll(0.1):
            pass
        return cast(Answers, ours.recv()) if ours.poll() else []
    except EOFError:  # it ended with an error, which stands above
        return []
    finally:
        sender.kill()
        sender.join()


def _judged(
    rig: Rig, middleware: str, ended: Ended, got: Answers, wanted: int, *, is_same: bool
) -> FaultTrial:
    mistakes = {name: code for name, expected, code in got if code != expected}
    good, bad = _p99s(ended.entries, ended.load.start_ns)
    checks = [
        Check("kinds", len({name for name, _, _ in got}), LEAST_KINDS, is_least=True),
        Check("not sent", wanted - len(got), 0),
        Check("other codes than documented", len(mistakes), 0),
        Check("process ended", 0 if is_same else 1, 0),
        Check("good traffic answered", ended.answered_percent, 100.0, "%", is_least=True),
        Check("good traffic's p99", bad / good if good and bad else None, SLOWER_AT_MOST, "x"),
    ]
    figures = {"malformed": float(len(got)), "p99 without, ms": good or 0, "with, ms": bad or 0}
    notes = [f"{name}: {code}" for name, code in list(mistakes.items())[:5]]
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
    tuple(WIRES),
)
