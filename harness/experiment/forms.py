"""The forms of `lab run`: which steps the short one has, and which the full one."""

from collections.abc import Sequence
from dataclasses import replace

from harness.experiment.anatomy import anatomy_step, library_step
from harness.experiment.capacity import Objective
from harness.experiment.command import shipped
from harness.experiment.document import Filling, read_experiment
from harness.experiment.runner import steps_of
from harness.experiment.scaling import short_step, thorough_steps
from harness.experiment.session import Step
from harness.experiment.stress import BlockCounts, capacity_step, clients_step, requests_step, variants_step
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES

LEFT_OUT = (
    "Left out of the short form: throughput over requests and over clients, submit to result, 50 "
    "requests in flight at n nodes, capacity and the sweep of rates, CPU-bound speedup, speedup of stock, 2 "
    "nodes and more than 3, the anatomy of a request, the library on the path, trials with fresh processes, "
    "and all but one load of dynamic scaling. `lab run --full` has them (about four hours)."
)
ON_ONE_MACHINE = (
    "Left out with --cluster: dynamic scaling, whose pool forks its workers on one machine, and the parts of "
    "a request's CPU time, which are sampled there."
)
SHORT_WINDOW, LONG_WINDOW = 0.7, 5.0
SHORT_BLOCKS = {Architecture.ONE_NODE: BlockCounts(3, 1, 0), Architecture.N_NODE: BlockCounts(3, 0, 0)}
LONG_BLOCKS = BlockCounts(5, 5, 5)


def by_middleware(names: Sequence[str]) -> list[list[str]]:
    """Return *names*, the variants of one middleware together."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(name.partition(":")[0], []).append(name)
    return list(grouped.values())


def quick_steps(names: Sequence[str]) -> list[Step]:
    groups = by_middleware(names)
    steps = [
        variants_step(variants, architecture, SHORT_WINDOW, SHORT_BLOCKS[architecture])
        for variants in groups
        for architecture in Architecture
    ]
    short = {"blocks": 3, "window": f"{SHORT_WINDOW}s", "fresh": "never"}
    return steps + _speedups(
        [_promising(variants) for variants in groups], Filling({"nodes": ["1", "3"]}, short)
    )


def _promising(variants: Sequence[str]) -> str:
    """Return the tuned variant, if it is among them."""
    return next((name for name in variants if name in MIDDLEWARES), variants[0])


def _speedups(names: Sequence[str], filling: Filling) -> list[Step]:
    return steps_of(read_experiment(shipped("speedup"), replace(filling, only=names)))


def full_steps(names: Sequence[str]) -> list[Step]:
    steps: list[Step] = []
    for variants in by_middleware(names):
        for architecture in Architecture:
            steps.append(variants_step(variants, architecture, LONG_WINDOW, LONG_BLOCKS))
            for name in variants:
                steps += [
                    requests_step(name, architecture, LONG_WINDOW),
                    clients_step(name, architecture, LONG_WINDOW),
                    capacity_step(name, architecture, Objective(window_seconds=LONG_WINDOW)),
                ]
        for work in ("5ms waiting", "2ms computing"):
            long = {"window": f"{LONG_WINDOW:g}s", "title": f"speedup, {work}"}
            steps += _speedups(variants, Filling({"work": work}, long, is_full=True))
    return steps


def steps_of_one_machine(names: Sequence[str], *, is_full: bool) -> list[Step]:
    """Return what cannot be spread."""
    if not is_full:
        return [short_step()] if "rabbitmq" in names else []
    steps = [anatomy_step(name) for name in names if name in MIDDLEWARES]
    steps += [library_step(name) for name in names]
    return [*steps, *(thorough_steps() if "rabbitmq" in names else [])]
