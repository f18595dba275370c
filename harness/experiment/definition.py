"""What an experiment is, once it is read: its parts, and what a command line says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.experiment.expectation import Expectation
from harness.experiment.side import Side
from harness.record.findings import Change

NEVER, BLOCK, WINDOW = "never", "each block", "each window"
"""Which processes of a part are new."""


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
