"""Texts that kill their worker: they are dead-lettered with a reason, and nobody else's work is lost."""

import random
import time
from collections.abc import Sequence

from harness.faults.injector import Injector
from harness.faults.load import Load, Stream
from harness.faults.rig import Rig, Scenario, settled, systems, trial
from harness.faults.site import Letter, Site, dead_letters, site
from harness.record.run import Check, FaultTrial
from lab.contract import Application
from lab.load.plans import Plan
from lab.operations import Operation

POISON = "arsenic"
"""See lab.work: a node that works on a text with this word ends at once."""
CLIENTS = 4
RETRY_SECONDS = 60.0
"""A text has to kill several workers before it is known by its deeds; each of them is started again."""


def poison(rig: Rig, middleware: str) -> FaultTrial:
    """Submit texts, some of them poisoned, and look where each has gone."""
    requests, count, seconds = rig.of((100, 1, 1.0), (300, 2, 3.0), (2_000, 5, 20.0))
    poisoned = random.Random(rig.seed).sample(range(requests), count)
    stream = Stream(rig.seed, (Operation.SUBMIT,), dict.fromkeys(poisoned, f" {POISON}"))
    tokens = frozenset(stream[number].token for number in poisoned)
    begun = time.monotonic()
    with site(middleware, Application.FILTER, rig.brokers, environment={"LAB_POISON": POISON}) as system:
        load = Load(systems([system]), stream, Plan.constant(requests / seconds, seconds), CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            injector.wait(float("inf"))
        letters = _dead_letters(system, tokens)
        took = time.monotonic() - begun
        ended = settled(load, injector, [system], leave_out=tokens)
        finished = {one.token for one in system.found(stream)}
        deaths = len(system.restarts())
    dead = {letter.token for letter in letters if letter.reason}
    checks = [
        Check("poisoned and not dead-lettered with a reason", len(tokens - dead), 0),
        Check("others dead-lettered", len({letter.token for letter in letters} - tokens), 0),
        Check("poisoned texts with a result", len(finished & tokens), 0),
    ]
    figures = {"poisoned": float(count), "workers killed": float(deaths), "until all were put aside, s": took}
    notes = sorted({letter.reason for letter in letters})[:3]
    return trial("poison", middleware, rig, ended, checks, figures=figures, notes=notes)


def _dead_letters(system: Site, tokens: frozenset[str]) -> Sequence[Letter]:
    """Wait for the dead letters, for a while."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        letters = dead_letters(system)
        if tokens <= {letter.token for letter in letters} or time.monotonic() > deadline:
            return letters
        time.sleep(0.25)


POISONED = Scenario(
    "poison",
    "5 texts that kill their worker among 2,000: those dead-lettered with a reason, all others done",
    poison,
    20.0,
    60.0,
)
