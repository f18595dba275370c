"""The one engine: measure the sides of each part of an experiment, block by block, and say what they show."""

import random
import string
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from harness.analysis.verdicts import FEWEST_REQUESTS
from harness.experiment.bench import Bench, Conditions, looks
from harness.experiment.capacity import Objective, capacity
from harness.experiment.document import BLOCK, NEVER, WINDOW, Document, Part
from harness.experiment.expectation import Expectation
from harness.experiment.probes import PROBES, Extent
from harness.experiment.session import FAILED, GOOD, UNDECIDED, Step
from harness.experiment.side import SUBMIT, TICKS, Side
from harness.experiment.stress import START_SECONDS, accepted_to_completed
from harness.experiment.subscribers import ticks
from harness.load.measure import Generators
from harness.record.findings import Finding, Judgement
from harness.record.run import Point, Result, Run
from lab.errors import InternalError
from lab.load.plans import Plan
from lab.load.profiles import PROFILES
from lab.process.system import System

CAPACITY_WINDOWS = 17
"""About how many windows a search for the highest rate takes, with the sweep after it."""
ROUNDS = 4
"""How often a window answers what is in flight, at least: Little's law holds for what has begun to flow."""
LONGEST_SECONDS = 10.0
"""Of a window that is made longer because its side is slow."""
AGAIN = "A again"
Turn = tuple[str, Side]
Running = Mapping[Side, tuple[System, Generators | None]]


def steps_of(document: Document) -> list[Step]:
    """Return the steps that measure the parts of *document*, one after the other."""
    return [step for part in document.parts for step in _steps(part)]


def judge(run: Run) -> int:
    """Return the exit code: what is missed or invalid fails; what was asked and stays undecided is 3.

    A table of changes asks nothing: there, undecided is a result.
    """
    verdicts = {one.verdict for one in run.findings}
    if verdicts & {Judgement.MISSED, Judgement.INVALID}:
        return FAILED
    asked = {one.verdict for one in run.findings if not one.change}
    return UNDECIDED if "undecided" in asked else GOOD


def _steps(part: Part) -> list[Step]:
    needs = frozenset[str]().union(*(side.needs for side in part.sides))
    if part.probe:
        probe = PROBES[part.probe]
        return [Step(part.title, probe.seconds, probe.needs, partial(measured, part=part))]
    return [Step(part.title, _seconds(part), needs, partial(measured, part=part))]


def _seconds(part: Part) -> float:
    """Return about how long *part* takes, without what its budget adds."""
    windows = len(part.sides) + part.has_again
    starts = {NEVER: 1, BLOCK: part.blocks, WINDOW: part.blocks}[part.fresh] * len(part.sides)
    each = part.window_seconds
    if part.arrivals:
        each = _plan(part, seed=1).duration_seconds
    if part.objective_seconds:
        windows *= CAPACITY_WINDOWS
    return starts * START_SECONDS + windows * part.blocks * each


def measured(bench: Bench, part: Part) -> Iterator[Result]:
    """Measure *part*; yield its points, then what they show. What goes wrong ends the part, not the run."""
    try:
        if part.probe:
            extent = Extent(part.blocks, part.window_seconds, part.budget_seconds, part.ramp)
            yield from PROBES[part.probe].measure(bench, extent)
        elif part.objective_seconds:
            objective = Objective(1000 * part.objective_seconds, part.window_seconds)
            for side in part.sides:
                asked = replace(bench, workload=replace(bench.workload, application=side.application))
                yield from capacity(asked, side.middleware, side.architecture, objective)
        else:
            yield from _blocks(bench, part)
    except (OSError, subprocess.SubprocessError) as error:
        raise InternalError("experiment", f"{type(error).__name__}: {error}") from error


def _blocks(bench: Bench, part: Part) -> Iterator[Result]:
    """Measure the blocks, and more of them while something is undecided and the budget lasts."""
    found = Blocks(part)
    with ExitStack() as stack:
        stage = Stage(bench, part, stack)
        for block in looks(part.blocks, part.budget_seconds, found.are_decided):
            for turn, point in stage.block(block):
                found.add(turn, point)
                yield point
    yield from found.findings()


class Stage:
    """The systems of a part; those that stay up start with it and end with *stack*."""

    def __init__(self, bench: Bench, part: Part, stack: ExitStack) -> None:
        self._bench, self._part = bench, part
        self._order = random.Random(bench.workload.seed)
        self._rates: dict[Side, float] = {}
        self._running = self._start(part.sides, stack) if part.fresh == NEVER else {}

    def block(self, block: int) -> Iterator[tuple[Turn, Point]]:
        """Measure a window of each side; the sides of a comparison in their order, else in random order."""
        with ExitStack() as stack:
            running = self._running
            if self._part.fresh == BLOCK:
                running = self._start(self._part.sides, stack)
            for turn in self._turns():
                with ExitStack() as trial:
                    up = running or self._start([turn[1]], trial)
                    for point in self._window(turn, block, *up[turn[1]]):
                        yield turn, point

    def _turns(self) -> list[Turn]:
        sides = self._part.sides
        if self._part.has_again:
            return [*zip(string.ascii_uppercase, sides, strict=False), (AGAIN, sides[0])]
        return [("", side) for side in self._order.sample(sides, len(sides))]

    def _start(self, sides: Iterable[Side], stack: ExitStack) -> Running:
        """Start the systems, then the load generators side by side.

        Where systems stay up, one serves all sides that only differ in their load.
        """
        keys = {side: side.system_key if self._part.fresh == NEVER else side for side in sides}
        systems = {key: key.start_system(self._bench, stack) for key in dict.fromkeys(keys.values())}
        loads: dict[Side, Generators | None] = dict.fromkeys(keys)
        for side, key in keys.items():
            if side.operation not in (SUBMIT, TICKS):
                load = loads[side] = side.load(self._bench, systems[key])
                stack.callback(load.close)
        for load in filter(None, loads.values()):
            load.wait_ready()
        return {side: (systems[key], loads[side]) for side, key in keys.items()}

    def _window(self, turn: Turn, block: int, system: System, load: Generators | None) -> Iterator[Point]:
        (name, side), part = turn, self._part
        conditions: Conditions = {
            **side.conditions(self._bench),
            "block": block,
            "is_trial": part.fresh != NEVER,
        }
        if name:
            conditions["setting"] = f"{name}: {side.label}"
        if side.operation == TICKS:
            yield replace(
                ticks(system, side.subscribers, part.window_seconds), experiment=part.study, **conditions
            )
        elif load is None:
            point = accepted_to_completed(self._bench, system, side.clients, part.window_seconds)
            yield replace(point, experiment=part.study, **conditions)
        elif part.ramp:
            yield from self._ramp(conditions, system, load)
        elif part.arrivals:
            make = partial(Generators.open, plan=_plan(part, self._bench.workload.seed + block))
            yield self._bench.point(part.study, system, load, make, **conditions)
        else:
            yield self._closed(side, conditions, system, load)

    def _closed(self, side: Side, conditions: Conditions, system: System, load: Generators) -> Point:
        """Measure a closed loop, longer where the side is slow. How slow it is, its first window tells."""

        def window() -> Point:
            seconds = max(self._part.window_seconds, self._seconds_for(side, load))
            make = partial(Generators.closed, seconds=seconds)
            return self._bench.point(self._part.study, system, load, make, **conditions)

        is_first = side not in self._rates
        point = window()
        self._rates[side] = point.throughput
        if is_first and self._seconds_for(side, load) > self._part.window_seconds:
            point = window()
        return point

    def _seconds_for(self, side: Side, load: Generators) -> float:
        """Return in what time *side* answers enough, and several times what is in flight."""
        rate, in_flight = self._rates.get(side, 0.0), load.clients * load.in_flight
        return min(max(1.2 * FEWEST_REQUESTS, ROUNDS * in_flight) / rate, LONGEST_SECONDS) if rate else 0.0

    def _ramp(self, conditions: Conditions, system: System, load: Generators) -> Iterator[Point]:
        """Make more and more requests, until a window was as long as one of the part."""
        conditions["block"] = 0
        for requests in self._part.ramp:
            make = partial(Generators.requests, each=max(1, requests // load.clients))
            conditions["factors"] = {**conditions["factors"], self._part.study: str(requests)}
            point = self._bench.point(self._part.study, system, load, make, **conditions)
            yield point
            if point.measurement.seconds >= self._part.window_seconds:
                return


def _plan(part: Part, seed: int) -> Plan:
    asked = part.arrivals
    if asked is None:
        raise ValueError(f"{part.study}: no open loop")
    if asked.profile:
        profile = PROFILES[asked.profile]()
        return Plan.following(profile, profile.duration_seconds, seed, asked.is_random)
    seconds = asked.seconds or part.window_seconds
    return Plan.poisson(asked.rate, seconds, seed) if asked.is_random else Plan.constant(asked.rate, seconds)


@dataclass(slots=True)
class Blocks:
    """The points of a part by block and turn, and what may be concluded from them."""

    part: Part
    blocks: dict[int, dict[Turn, Point]] = field(default_factory=dict)

    def add(self, turn: Turn, point: Point) -> None:
        """Add a point; of a ramp the last one counts."""
        self.blocks.setdefault(point.block, {})[turn] = point

    def are_decided(self) -> bool:
        """Tell whether more blocks are of no use."""
        return all(one.verdict != "undecided" for one in self.findings())

    def findings(self) -> list[Finding]:
        """Return what was asked: whether expectations hold, else how the sides compare with the first."""
        part = self.part
        asked = [finding for one in part.expect for finding in self._expected(one)]
        if not part.has_again:
            return asked
        first, *others = part.sides
        return [self._compared(first, side, place) for place, side in enumerate(others, 1)] + asked

    def _compared(self, first: Side, side: Side, place: int) -> Finding:
        turns: list[Turn] = [("A", first), (string.ascii_uppercase[place], side), (AGAIN, first)]
        (a, b, again), notes = self._rates(turns)
        values = [y / (x * z) ** 0.5 for x, y, z in zip(a, b, again, strict=True)]
        change = self.part.changes[place - 1] if self.part.changes else None
        return Finding(
            self.part.study,
            change.what if change else f"{side.label} against {first.label}",
            values,
            rates={first.label: a, side.label: b},
            again=again,
            change=change,
            notes=notes,
        )

    def _expected(self, asked: Expectation) -> Iterator[Finding]:
        sides = self.part.sides
        for over, under in asked.pairs(sides):
            turns = [self._turn_of(one) for one in (over, under)]
            (ones, others), notes = self._rates(turns)
            values = [x / y for x, y in zip(ones, others, strict=True)]
            labels = [one.label or one.middleware for one in (over, under)]
            yield Finding(
                self.part.study,
                f"{self.part.title}: {labels[0]} over {labels[1]}",
                values,
                asked.bar,
                at_least=asked.is_least,
                rates=dict(zip(labels, (ones, others), strict=True)),
                notes=notes,
            )

    def _turn_of(self, side: Side) -> Turn:
        place = self.part.sides.index(side)
        return (string.ascii_uppercase[place] if self.part.has_again else "", side)

    def _rates(self, turns: Sequence[Turn]) -> tuple[list[list[float]], list[str]]:
        """Return the rates of each turn in the blocks in which all are valid, and why others are left out."""
        found: list[list[float]] = [[] for _ in turns]
        why: dict[str, None] = {}
        for points in self.blocks.values():
            mine = [points[turn] for turn in turns if turn in points]
            said = [one for point in mine for one in self._objections(point)]
            why |= dict.fromkeys(said)
            if len(mine) == len(turns) and not said:
                for rates, point in zip(found, mine, strict=True):
                    rates.append(point.throughput)
        left_out = len(self.blocks) - len(found[0])
        told = f"{left_out} of {len(self.blocks)} blocks are left out: {'; '.join(why)}"
        return found, [told] if left_out else []

    def _objections(self, point: Point) -> list[str]:
        """Return what speaks against *point*. What clients do does not, where they are compared, too."""
        meant = ("client-bound", "Little's law") if self.part.is_with_clients else ()
        return [said for said in point.objections if not said.startswith(meant)]
