"""A against B, paired: in every block fresh systems, and A, B, A again."""

import argparse
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from harness.analysis.verdicts import FEWEST_BLOCKS, comparison_of
from harness.experiment.bench import Bench
from harness.experiment.session import FAILED, GOOD, Step, needs
from harness.load.measure import Generators
from harness.record.run import Point, Run
from harness.report.conclusions import sentence
from harness.statistics import slower_than
from lab.cli.brokers import say
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.middleware import STOCK, TUNED, middleware_name
from lab.process.system import System

CLIENTS = 4
START_SECONDS = 4.0
"""About what it takes to start both systems and their load generators."""
_HARNESS_OPTIONS = ("clients", "in_flight", "nodes", "architecture")
_OPTION = re.compile(r"([a-z][a-z_-]*)=(\S+)")


@dataclass(frozen=True, slots=True)
class Contestant:
    """``middleware[:option=value[,option=value]]``; options are those of its nodes, or of the load.

    Of the load are ``clients``, ``in_flight``, ``nodes`` and ``architecture``; ``prefetch=1`` is the node's
    option ``--prefetch 1``.
    """

    text: str
    middleware: str
    architecture: Architecture
    nodes: int
    clients: int
    in_flight: int
    arguments: tuple[str, ...]

    def start(self, bench: Bench, stack: ExitStack) -> tuple[System, Generators]:
        """Start fresh processes and load generators."""
        system = stack.enter_context(
            bench.system(self.middleware, self.architecture, self.nodes, self.arguments)
        )
        return system, stack.enter_context(bench.load(system, self.clients, self.in_flight))


def read_contestant(text: str) -> Contestant:
    """Read a side; one clear InvalidRequest if it is wrong."""
    middleware, _, rest = text.partition(":")
    parts = [part for part in rest.split(",") if part]
    if parts and parts[0] in (STOCK, TUNED):
        middleware = f"{middleware}:{parts.pop(0)}"
    try:
        middleware = middleware_name(middleware)
    except argparse.ArgumentTypeError as error:
        raise InvalidRequest(Code.MALFORMED, str(error)) from error
    options: dict[str, str] = {}
    for part in parts:
        match = _OPTION.fullmatch(part)
        if not match:
            message = f"{part!r} is not option=value, as in rabbitmq:prefetch=1"
            raise InvalidRequest(Code.MALFORMED, message)
        options[match[1].replace("-", "_")] = match[2]
    load = {name: options.pop(name) for name in _HARNESS_OPTIONS if name in options}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    nodes = _count("nodes", load.get("nodes", "0"), 0)
    usual = Architecture.N_NODE if nodes else Architecture.ONE_NODE
    return Contestant(
        text,
        middleware,
        _architecture(load.get("architecture", usual)),
        nodes,
        _count("clients", load.get("clients", str(CLIENTS)), 1),
        _count("in_flight", load.get("in_flight", "1"), 1),
        tuple(arguments),
    )


def comparison_step(a: Contestant, b: Contestant, blocks: int, window_seconds: float) -> Step:
    """Return the step that measures A, B and A again in each of *blocks*."""
    return Step(
        f"compare {a.text} with {b.text}",
        blocks * (START_SECONDS + 3 * window_seconds),
        needs(a.middleware, a.architecture) | needs(b.middleware, b.architecture),
        partial(versus, a=a, b=b, blocks=blocks, window_seconds=window_seconds),
    )


def versus(
    bench: Bench, a: Contestant, b: Contestant, *, blocks: int, window_seconds: float
) -> Iterator[Point]:
    """Measure A, B and A again in each of *blocks*; the two A's give the noise floor."""
    for block in range(blocks):
        with ExitStack() as stack:
            running = {"A": a.start(bench, stack), "B": b.start(bench, stack)}
            for turn, side in (("A", a), ("B", b), ("A again", a)):
                system, load = running[turn[0]]
                yield bench.point(
                    "compare",
                    system,
                    load,
                    partial(Generators.closed, seconds=window_seconds),
                    block=block,
                    setting=f"{turn}: {side.text}",
                )


def _count(name: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise InvalidRequest(Code.MALFORMED, f"{name} must be a whole number, {least} or more, got {text!r}")
    return int(text)


def _architecture(text: str) -> Architecture:
    try:
        return Architecture(text)
    except ValueError as error:
        message = f"no architecture {text!r}; there are {', '.join(Architecture)}"
        raise InvalidRequest(Code.MALFORMED, message) from error


def judge(run: Run, a: Contestant, b: Contestant, limit: float | None) -> int:
    """Say what the comparison shows.

    Return 1 if B is shown to be slower by more than *limit*, or if there are too few valid blocks.
    """
    comparison = comparison_of(run)
    if comparison is None:
        say(f"no verdict: fewer than {FEWEST_BLOCKS} blocks are whole and valid; repeat with more --blocks")
        return FAILED
    say(sentence(comparison, a.text, b.text))
    return FAILED if limit is not None and slower_than(comparison, limit) else GOOD
