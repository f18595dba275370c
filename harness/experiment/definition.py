"""What an experiment is, once it is read: its parts, what they expect, and what a command line adds."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.experiment.factors import FACTORS, checked
from harness.experiment.side import Side
from harness.record.findings import Change
from lab.errors import Code, InvalidRequest

NEVER, BLOCK, WINDOW = "never", "each block", "each window"
"""Which processes of a part are new."""
Factors = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Expectation:
    """That the rate of the sides *over* is so many times, or less, that of the sides *under*."""

    bar: float
    is_least: bool = True
    over: Factors = ()
    """Factors of the side; none: the last side."""
    under: Factors = ()
    """None: the first side."""

    def pairs(self, sides: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
        """Yield each of *sides* that is *over*, with those *under* that are else like it."""
        if not self.over and not self.under:
            yield from [(sides[-1], sides[0])] if len(sides) > 1 else []
            return
        named = {"side", *dict(self.over), *dict(self.under)}
        for over, under in itertools.permutations(sides, 2):
            if (
                _has(over, self.over)
                and _has(under, self.under)
                and _rest(over, named) == _rest(under, named)
            ):
                yield over, under

    def check(self, parts: Sequence[Sequence[Side]]) -> None:
        """Raise InvalidRequest if no pair of it is measured together; *parts* are the sides that are."""
        sides = [side for part in parts for side in part]
        if not sides or any(any(self.pairs(part)) for part in parts):
            return
        for name, factors in (("of", self.over), ("to", self.under)):
            for factor, value in factors:
                if not any(_has(side, ((factor, value),)) for side in sides):
                    raise _wrong(
                        f"{name}: {factor} {value}: no side has it; possible is {_possible(factor, sides)}"
                    )
            if not any(_has(side, factors) for side in sides):
                raise _wrong(f"{name}: no side has all of {', '.join(map(' '.join, factors))}")
        if len(parts) > 1:
            raise _wrong(
                "different middlewares or architectures of `over` are measured one after the other; "
                "`compare` measures them in pairs"
            )
        raise _wrong("of and to: there are no two sides that differ in this alone")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An open loop: at *rate* per second for *seconds*, or as *profile* says."""

    rate: float = 0.0
    seconds: float = 0.0
    profile: str = ""
    is_random: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """Sides that are measured in the same blocks, by one method, for one purpose."""

    study: str
    """What its points are called."""
    title: str
    sides: tuple[Side, ...] = ()
    has_again: bool = False
    """The first side is measured again at the end of each block: how far it comes from itself is noise."""
    is_with_clients: bool = False
    """Clients and system are compared together: windows of which clients are the limit count."""
    blocks: int = 3
    window_seconds: float = 2.0
    fresh: str = NEVER
    """Which processes are new: those of each block, of each window, or none."""
    expect: tuple[Expectation, ...] = ()
    budget_seconds: float = 0.0
    """For how long blocks are added while something is undecided."""
    arrivals: Arrivals | None = None
    ramp: tuple[int, ...] = ()
    """Numbers of requests, one window after the other, until one is as long as the window."""
    objective_seconds: float = 0.0
    """The 99th percentile within which the highest rate is searched; 0: it is not searched."""
    changes: tuple[Change, ...] = ()
    """What each side but the first changes of it, where that is one setting."""
    probe: str = ""
    """A measurement that has no sides (:mod:`harness.experiment.probes`)."""
    names: tuple[str, ...] = ()
    """The variants that a probe measures, if it measures any."""


@dataclass(frozen=True, slots=True)
class Document:
    """An experiment: its question and its parts. *source* is what was read, for the record."""

    question: str
    parts: tuple[Part, ...]
    source: dict[str, object] = field(default_factory=dict)
    is_by_system: bool = False
    """All parts of a middleware and architecture follow each other, on systems that stay up."""
    left_out: str = ""
    """A sentence on what the short form leaves out."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What a command line says of an experiment: it replaces what the file says."""

    load: Mapping[str, object] = field(default_factory=dict)
    """Factors of every side, also of those that the file varies."""
    fields: Mapping[str, object] = field(default_factory=dict)
    """Fields of every part, such as blocks and window."""
    only: Sequence[str] = ()
    """Variants, or changes such as "rabbitmq", "rabbitmq:prefetch" and "rabbitmq:prefetch=1"; none: all."""
    studies: Sequence[str] = ()
    """Parts; none: all."""
    is_full: bool = False
    objective: str = ""
    """Of capacities; empty: what the file says."""
    parts: Sequence[Mapping[str, object]] = ()
    """In the place of the parts of the file; none: those of the file."""
    is_spread: bool = False
    """Over several machines: brokers that keep less can be started on this one only, so none is."""


NOTHING_SAID = Filling()


def _has(side: Side, factors: Factors) -> bool:
    told = dict(side.factors)
    return all(told.get(name) == value or _is_field(side, name, value) for name, value in factors)


def _is_field(side: Side, name: str, value: str) -> bool:
    """Tell whether *side* has that *value* from what all sides share, or in another spelling."""
    if name not in FACTORS:
        return False
    field, read = FACTORS[name]
    try:
        return bool(getattr(side, field) == checked(name, value, read))
    except InvalidRequest:
        return False


def _rest(side: Side, named: set[str]) -> dict[str, str]:
    return {name: value for name, value in side.factors if name not in named}


def _possible(factor: str, sides: Sequence[Side]) -> str:
    """Return the values of *factor*; if no side has any, all factors that can be named."""
    names = dict.fromkeys(name for side in sides for name, _ in side.factors)
    values = {name: dict.fromkeys(dict(side.factors).get(name, "") for side in sides) for name in names}
    if factor in FACTORS and factor not in values:
        values[factor] = dict.fromkeys(str(getattr(side, FACTORS[factor][0]) or "") for side in sides)
    said = {name: f"{name} {', '.join(filter(None, found))}" for name, found in values.items() if any(found)}
    return said.get(factor) or "; ".join(said.values()) or "only what `over` or `compare` varies"


def _wrong(said: str) -> InvalidRequest:
    return InvalidRequest(Code.MALFORMED, f"expect: {said}")
