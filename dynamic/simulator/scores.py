"""How well a policy did: late events, what the workers cost, and how calmly they were scaled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

REVERSAL_SECONDS = 10.0

Numbers = NDArray[np.float64]


class Steps(NamedTuple):
    """A number of workers that is constant from each of *times* (seconds, ascending) to the next."""

    times: Numbers
    values: Numbers

    @classmethod
    def summed(cls, changes: Sequence[tuple[float, int]]) -> Self:
        """Add up *changes*, times and by how many, those of the same time in one step."""
        order = sorted(changes)
        times, first = np.unique(np.array([time for time, _ in order]), return_index=True)
        sums = np.add.reduceat(np.array([change for _, change in order], float), first)
        return cls(times, sums.cumsum())

    def at(self, times: Numbers) -> Numbers:
        """Return the numbers at *times*; 0 before the first."""
        index = np.searchsorted(self.times, times, side="right")
        return np.concatenate([[0.0], self.values])[index]

    def area(self, until: float) -> float:
        """Return worker-seconds from 0 s to *until*."""
        edges = _edges(until, self.times)
        return float(self.at(edges[:-1]) @ np.diff(edges))


@dataclass(frozen=True, slots=True)
class Scores:
    """Over all events of a profile, and over its duration."""

    events: int
    late_percent: float
    """Events whose response time was longer than the objective, or that were never finished."""
    p99_seconds: float
    """Of the response time."""
    worker_seconds: float
    """From the wish for a worker until it has left."""
    starts: int
    """Workers started by decisions: those that are there at the beginning do not count."""
    cost: float
    """Worker-seconds, and the price of the starts."""
    over_optimum: float | None
    """Cost over the lower bound of the optimum's: see `dynamic.simulator.optimum`. None: not computed."""
    under_area: float
    """Worker-seconds that were missing to what the rate needed."""
    under_percent: float
    """Of the time."""
    over_area: float
    over_percent: float
    actions: int
    """Decisions for another number of workers than before."""
    reversals: int
    """Actions in the other direction than the action before, within 10 s of it."""
    reaction_seconds: float | None
    """From the largest rise of the need until as many workers are ready; None: never, or no rise."""
    settling_seconds: float | None
    """From the largest rise of the need until the workers stay, while the need does, from what is needed up
    to half more or two more."""
    lost: int
    """Arrivals neither finished nor still waiting."""


def reversals(actions: Sequence[tuple[float, int]]) -> int:
    """Count the *actions*, times and changes, against the one before within 10 s."""
    return sum(
        then - now <= REVERSAL_SECONDS and up * down < 0 for (now, up), (then, down) in pairwise(actions)
    )


def provisioning(supply: Steps, need: Steps, duration: float) -> tuple[float, float, float, float]:
    """Return missing worker-seconds, their share of the time in percent, and the same of those too many."""
    edges = _edges(duration, supply.times, need.times)
    spans = np.diff(edges)
    spare = supply.at(edges[:-1]) - need.at(edges[:-1])
    return (
        float(np.maximum(-spare, 0) @ spans),
        float(100 * spans[spare < 0].sum() / duration),
        float(np.maximum(spare, 0) @ spans),
        float(100 * spans[spare > 0].sum() / duration),
    )


def reaction_and_settling(supply: Steps, need: Steps, duration: float) -> tuple[float | None, float | None]:
    """Return how long after the largest rise of *need* the *supply* was enough, and stayed near it."""
    rises = np.diff(need.values)
    if not len(rises) or rises.max() <= 0:
        return None, None
    rise = int(rises.argmax()) + 1
    begin, level = float(need.times[rise]), float(need.values[rise])
    others = np.flatnonzero(need.values[rise:] != level)
    end = float(need.times[rise + others[0]]) if len(others) else duration
    times = np.concatenate([[begin], supply.times[(supply.times > begin) & (supply.times < end)]])
    ready = supply.at(times)
    enough = np.flatnonzero(ready >= level)
    is_near = (ready >= level) & (ready <= max(1.5 * level, level + 2))
    if not is_near[-1]:
        return (float(times[enough[0]]) - begin if len(enough) else None), None
    away = np.flatnonzero(~is_near)
    settled = float(times[away[-1] + 1]) - begin if len(away) else 0.0
    return float(times[enough[0]]) - begin, settled


def _edges(until: float, *times: Numbers) -> Numbers:
    edges = np.unique(np.concatenate([[0.0, until], *times]))
    return edges[(edges >= 0) & (edges <= until)]


SCORES: dict[str, Callable[[Scores], str]] = {
    "late, %": lambda one: f"{one.late_percent:.2f}",
    "p99, s": lambda one: f"{one.p99_seconds:.2f}",
    "worker-seconds": lambda one: f"{one.worker_seconds:,.0f}",
    "starts": lambda one: str(one.starts),
    "cost over the optimum's": lambda one: "-" if one.over_optimum is None else f"{one.over_optimum:.2f}",
    "missing worker-seconds": lambda one: f"{one.under_area:,.0f} ({one.under_percent:.0f} % of the time)",
    "spare worker-seconds": lambda one: f"{one.over_area:,.0f} ({one.over_percent:.0f} % of the time)",
    "actions": lambda one: str(one.actions),
    "reversals within 10 s": lambda one: str(one.reversals),
    "reaction, s": lambda one: _seconds(one.reaction_seconds),
    "settling, s": lambda one: _seconds(one.settling_seconds),
    "lost": lambda one: str(one.lost),
}
"""What tables show: heading and cell."""


def score_table(title: str, scores: Sequence[tuple[str, Scores]]) -> Table:
    """Return the scores of policies, a column each."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for policy, _ in scores:
        table.add_column(policy, justify="right")
    for heading, cell in SCORES.items():
        table.add_row(heading, *(cell(one) for _, one in scores))
    return table


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
