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
from harness.experiment.capacity import Objective, accepted_to_completed, capacity
from harness.experiment.definition import BLOCK, NEVER, WINDOW, Document, Expectation, Part
from harness.experiment.probes import PROBES, SERIES, Extent
from harness.experiment.session import FAILED, GOOD, UNDECIDED, Step
from harness.experiment.side import SUBMIT, TICKS, Side, start_systems
from harness.experiment.subscribers import ticks
from harness.load.measure import Generators
from harness.record.findings import Finding, Judgement
from harness.record.run import Point, Result, Run
from lab.errors import InternalError
from lab.load.plans import Plan
from lab.load.profiles import PROFILES
from lab.process.system import System

START_SECONDS = 1.2
"""About what it takes to start a system and its load generators, and to end them, beside others."""
CAPACITY_WINDOWS, SUBMIT_WINDOWS = 17, 3.5
"""About how many windows a search for the highest rate takes, with the sweep after it; and one of texts that
are submitted."""
ROUNDS = 4
"""How often a window answers what is in flight, at least: Little's law holds for what has begun to flow."""
LONGEST_SECONDS = 10.0
"""Of a window that is made longer because its side is slow."""
AGAIN = "A again"
Turn = tuple[str, Side]
Systems = Mapping[Side, System]
Running = Mapping[Side, tuple[System, Generators | None]]


def steps_of(document: Document) -> list[Step]:
    """Return the steps that measure the parts of *document*, one after the other."""
    groups: dict[object, list[Part]] = {}
    for number, part in enumerate(document.parts):
        is_shared = (
            document.is_by_system and part.sides and not part.objective_seconds and part.fresh == NEVER
        )
        groups.setdefault(_system(part) if is_shared else number, []).append(part)
    return [step for parts in groups.values() for step in _steps(parts)]


def _system(part: Part) -> tuple[str, str]:
    """Return the middleware and the architecture of *part*."""
    return part.sides[0].middleware.partition(":")[0], part.sides[0].architecture


def judge(run: Run) -> int:
    """Return the exit code: what is missed or invalid fails; what was asked and stays undecided is 3.

    A table of changes asks nothing: there, undecided is a result.
    """
    verdicts = {one.verdict for one in run.findings}
    if verdicts & {Judgement.MISSED, Judgement.INVALID}:
        return FAILED
    asked = {one.verdict for one in run.findings if not one.change}
    return UNDECIDED if "undecided" in asked else GOOD


def _steps(parts: Sequence[Part]) -> list[Step]:
    """Return the step that measures *parts* on the same systems; of some probes there are several."""
    [first, *more] = parts
    if first.probe in SERIES:
        return SERIES[first.probe](first.names)
    if first.probe:
        probe = PROBES[first.probe]
        return [Step(first.title, probe.seconds, probe.needs, partial(measured, parts=parts))]
    what, colon, whose = first.title.partition(": ")
    title = ", ".join(dict.fromkeys([what, *(part.study for part in more)])) + colon + whose
    needs = frozenset[str]().union(*(side.needs for part in parts for side in part.sides))
    seconds = sum(_seconds(part, is_up=part is not first) for part in parts)
    return [Step(title, seconds, needs, partial(measured, parts=parts))]


def _seconds(part: Part, *, is_up: bool) -> float:
    """Return about how long *part* takes, without what its budget adds; *is_up*: its systems are."""
    windows: float = len(part.sides) + part.has_again
    starts = {NEVER: 0 if is_up else 1, BLOCK: part.blocks, WINDOW: part.blocks}[part.fresh] * len(part.sides)
    each = part.window_seconds
    if part.arrivals:
        each = _plan(part, seed=1).duration_seconds
    if part.objective_seconds:
        windows *= CAPACITY_WINDOWS
    if part.sides[0].operation == SUBMIT:
        windows *= SUBMIT_WINDOWS
    return starts * START_SECONDS + windows * part.blocks * each


def measured(bench: Bench, parts: Sequence[Part]) -> Iterator[Result]:
    """Measure *parts*; yield their points, then what they show. What goes wrong ends them, not the run."""
    [part, *_] = parts
    try:
        if part.probe:
            extent = Extent(part.blocks, part.window_seconds, part.budget_seconds, part.ramp)
            yield from PROBES[part.probe].measure(bench, extent)
        elif part.objective_seconds:
            objective = Objective(1000 * part.objective_seconds, part.window_seconds)
            for side in part.sides:
                yield from capacity(bench, side, objective)
        else:
            yield from _blocks(bench, parts)
    except (OSError, subprocess.SubprocessError) as error:
        raise InternalError("experiment", f"{type(error).__name__}: {error}") from error


def _blocks(bench: Bench, parts: Sequence[Part]) -> Iterator[Result]:
    """Measure the blocks of each part, and more while something is undecided and the budget lasts."""
    with ExitStack() as stack:
        sides = [side for part in parts if part.fresh == NEVER for side in part.sides]
        systems = start(bench, sides, stack, is_shared=True)
        for part in parts:
            with ExitStack() as loads:
                found, stage = Blocks(part), Stage(bench, part, systems, loads)
                for block in looks(part.blocks, part.budget_seconds, found.are_decided):
                    for turn, point in stage.block(block):
                        found.add(turn, point)
                        yield point
            yield from found.findings()


def start(bench: Bench, sides: Iterable[Side], stack: ExitStack, *, is_shared: bool = False) -> Systems:
    """Start the systems of *sides*, which end with *stack*.

    *is_shared*: one system serves all sides that only differ in their load.
    """
    keys = {side: side.system_key if is_shared else side for side in sides}
    different = list(dict.fromkeys(keys.values()))
    systems = dict(zip(different, start_systems(bench, different, stack), strict=True))
    return {side: systems[key] for side, key in keys.items()}


def load(bench: Bench, sides: Iterable[Side], systems: Systems, stack: ExitStack) -> Running:
    """Start the load generators of *sides*, side by side; they end with *stack*."""
    loads: dict[Side, Generators | None] = dict.fromkeys(sides)
    for side in loads:
        if side.operation not in (SUBMIT, TICKS):
            started = loads[side] = side.load(bench, systems[side])
            stack.callback(started.close)
    for each in filter(None, loads.values()):
        each.wait_ready()
    return {side: (systems[side], each) for side, each in loads.items()}


class Stage:
    """A part and its systems. Load generators for those of *systems*, which stay up, end with *stack*."""

    def __init__(self, bench: Bench, part: Part, systems: Systems, stack: ExitStack) -> None:
        self._bench, self._part = bench, part
        self._order = random.Random(bench.workload.seed)
        self._rates: dict[Side, float] = {}
        self._running = load(bench, part.sides, systems, stack) if systems else {}

    def block(self, block: int) -> Iterator[tuple[Turn, Point]]:
        """Measure a window of each side; the sides of a comparison in their order, else in random order."""
        with ExitStack() as stack:
            running = self._running
            if self._part.fresh == BLOCK:
                running = self._fresh(self._part.sides, stack)
            for turn in self._turns():
                with ExitStack() as trial:
                    up = running or self._fresh([turn[1]], trial)
                    for point in self._window(turn, block, *up[turn[1]]):
                        yield turn, point

    def _fresh(self, sides: Sequence[Side], stack: ExitStack) -> Running:
        return load(self._bench, sides, start(self._bench, sides, stack), stack)

    def _turns(self) -> list[Turn]:
        sides = self._part.sides
        if self._part.has_again:
            return [*zip(string.ascii_uppercase, sides, strict=False), (AGAIN, sides[0])]
        return [("", side) for side in self._order.sample(sides, len(sides))]

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
            point = accepted_to_completed(self._bench, side, system, part.window_seconds)
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
