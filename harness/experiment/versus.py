"""A against B, paired: in every block fresh systems, and A, B, A again."""

import argparse
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from harness.experiment.bench import Bench
from harness.load.measure import Generators
from harness.record.run import Point
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.middleware import STOCK, TUNED, middleware_name
from lab.process.system import System

CLIENTS = 4
_HARNESS_OPTIONS = ("clients", "in_flight", "nodes", "architecture")
_OPTION = re.compile(r"([a-z][a-z_-]*)=(\S+)")


@dataclass(frozen=True, slots=True)
class Side:
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


def read_side(text: str) -> Side:
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
    return Side(
        text,
        middleware,
        _architecture(load.get("architecture", usual)),
        nodes,
        _count("clients", load.get("clients", str(CLIENTS)), 1),
        _count("in_flight", load.get("in_flight", "1"), 1),
        tuple(arguments),
    )


def versus(bench: Bench, a: Side, b: Side, *, blocks: int, window_seconds: float) -> Iterator[Point]:
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
