"""The forms of `lab run`: which steps the short one has, and which the full one."""

from harness.experiment.anatomy import anatomy_step
from harness.experiment.capacity import Objective
from harness.experiment.scaling import short_step, thorough_steps
from harness.experiment.session import Step
from harness.experiment.speedup import CPU_BOUND, LATENCY_BOUND, speedup_step
from harness.experiment.stress import capacity_step, clients_step, requests_step
from lab.contract import Architecture

LEFT_OUT = (
    "Left out of the short form: throughput over clients, capacity and the sweep of rates, CPU-bound "
    "speedup, more than 3 nodes, the anatomy of a request, trials with fresh processes, and all but one load "
    "of dynamic scaling. `lab run --full` has them (about an hour)."
)
ON_ONE_MACHINE = (
    "Left out with --cluster: dynamic scaling, whose pool forks its workers on one machine, and the parts of "
    "a request's CPU time, which are sampled there."
)


def quick_steps(middlewares: list[str]) -> list[Step]:
    steps = [
        requests_step(name, architecture, window=0.75)
        for name in middlewares
        for architecture in Architecture
    ]
    steps += [
        speedup_step(name, (1, 2, 3), LATENCY_BOUND, blocks=3, window=0.8, fresh=False)
        for name in middlewares
    ]
    return steps


def full_steps(middlewares: list[str]) -> list[Step]:
    steps: list[Step] = []
    for name in middlewares:
        for architecture in Architecture:
            steps += [
                requests_step(name, architecture, window=5.0),
                clients_step(name, architecture, window=5.0),
                capacity_step(name, architecture, Objective(window_seconds=5.0)),
            ]
    for name in middlewares:
        for work in (LATENCY_BOUND, CPU_BOUND):
            steps.append(
                speedup_step(name, (1, 2, 3, 4, 6, 8), work, blocks=5, window=5.0, fresh=True),
            )
    return steps


def steps_of_one_machine(middlewares: list[str], *, is_full: bool) -> list[Step]:
    """Return what cannot be spread."""
    if not is_full:
        return [short_step()] if "rabbitmq" in middlewares else []
    steps = [anatomy_step(name) for name in middlewares]
    return [*steps, *(thorough_steps() if "rabbitmq" in middlewares else [])]
